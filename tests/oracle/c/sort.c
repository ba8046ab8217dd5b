/* 100 numbers of xorshift64, sorted three ways: merge sort, quicksort, and picolibc's qsort. One line a number, in hexadecimal. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 100 };

static int64_t numbers[COUNT], merged[COUNT], quick[COUNT], library[COUNT], spare[COUNT];

static void merge_sort(int64_t *values, int count)
{
    if (count < 2)
        return;
    int half = count / 2, left = 0, right = half;
    merge_sort(values, half);
    merge_sort(values + half, count - half);
    for (int i = 0; i < count; i++)
        spare[i] = right == count || (left < half && values[left] <= values[right]) ? values[left++] : values[right++];
    memcpy(values, spare, count * sizeof *values);
}

static void quicksort(int64_t *first, int64_t *last)
{
    while (first < last) {
        int64_t pivot = *last, *boundary = first;
        for (int64_t *at = first; at <= last; at++)
            if (*at < pivot || at == last) {
                int64_t swap = *at;
                *at = *boundary;
                *boundary++ = swap;
            }
        quicksort(first, boundary - 2);
        first = boundary;
    }
}

static int order(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

int main(void)
{
    uint64_t state = 88172645463325252;
    for (int i = 0; i < COUNT; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers[i] = (int64_t)state >> (i % 5 * 12);                /* small ones too, so that some are equal */
    }
    memcpy(merged, numbers, sizeof numbers);
    memcpy(quick, numbers, sizeof numbers);
    memcpy(library, numbers, sizeof numbers);
    merge_sort(merged, COUNT);
    quicksort(quick, quick + COUNT - 1);
    qsort(library, COUNT, sizeof *library, order);
    for (int i = 0; i < COUNT; i++)
        printf("%016llx\n", (unsigned long long)merged[i]);
    return memcmp(merged, quick, sizeof merged) || memcmp(merged, library, sizeof merged) ? 1 : 0;
}
