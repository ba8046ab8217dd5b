/* Sorting with calls through pointers, recursion, and a heap. */
typedef int (*Order)(const void *, const void *);
static void swap(char *a, char *b, unsigned long size) { while (size--) { char t = *a; *a++ = *b; *b++ = t; } }

void quick(void *base, unsigned long count, unsigned long size, Order order) {
    char *p = base;
    while (count > 1) {
        unsigned long last = 0;
        swap(p, p + count / 2 * size, size);
        for (unsigned long i = 1; i < count; i++)
            if (order(p + i * size, p) < 0) swap(p + ++last * size, p + i * size, size);
        swap(p, p + last * size, size);
        quick(p, last, size, order);
        p += (last + 1) * size, count -= last + 1;
    }
}

static void sift(long *a, int i, int n) {
    for (int c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && a[c + 1] > a[c]) c++;
        if (a[i] >= a[c]) return;
        long t = a[i]; a[i] = a[c]; a[c] = t;
    }
}
void heap(long *a, int n) {
    for (int i = n / 2; i-- > 0;) sift(a, i, n);
    while (n-- > 1) { long t = a[0]; a[0] = a[n]; a[n] = t; sift(a, 0, n); }
}

void merge(short *a, short *scratch, int n) {
    if (n < 2) return;
    int half = n / 2, i = 0, j = half, k = 0;
    merge(a, scratch, half), merge(a + half, scratch, n - half);
    while (i < half || j < n) scratch[k++] = j >= n || (i < half && a[i] <= a[j]) ? a[i++] : a[j++];
    for (k = 0; k < n; k++) a[k] = scratch[k];
}

static int by_value(const void *a, const void *b) { return (*(int *)a > *(int *)b) - (*(int *)a < *(int *)b); }
static int by_bits(const void *a, const void *b) { return __builtin_popcount(*(int *)a) - __builtin_popcount(*(int *)b); }
const Order orders[] = {by_value, by_bits, 0};
void all(int *values, int n) { for (const Order *o = orders; *o; o++) quick(values, n, sizeof *values, *o); }
