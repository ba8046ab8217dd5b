/* Structures by value, in registers and in memory, unions, bit fields, many arguments. */
#include <stdint.h>
struct small { char a; short b; };
struct pair { long x, y; };
struct big { int v[10]; struct pair p; char name[5]; };
union word { uint64_t u; double d; struct { unsigned low : 20, middle : 30; uint64_t high : 14; } f; uint8_t bytes[8]; };
struct packed { char c; int i; long l; } __attribute__((packed));
static struct big kept = {{1, 2, 3}, {4, 5}, "five"};
struct packed table[3] = {{'a', 1, 2}, {'b', -1, -2}, {.l = 1L << 40}};
struct { struct pair *at; int (*call)(struct small); unsigned char flag : 1; } links;

int small(struct small s) { return s.a * s.b; }
struct pair turned(struct pair p) { struct pair q = {-p.y, p.x}; return q; }
struct big changed(struct big b, int i) { b.v[i] += b.p.x; b.p = turned(b.p); return b; }
int many(char a, short b, int c, long d, char e, short f, int g, long h, int i, struct small s, long j) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + small(s) + 11 * j;
}
uint64_t fields(double d) { union word w = {.d = d}; w.f.low++, w.f.middle ^= w.f.high; return w.u + w.bytes[3]; }
long sum(int n) { long t = 0; for (int i = 0; i < n; i++) t += table[i].l + table[i].i + table[i].c; return t; }
long all(void) {
    struct small s = {3, 4};
    links.at = &kept.p, links.call = small, links.flag = 1;
    kept = changed(changed(kept, 1), 2);
    return many(1, 2, 3, 4, 5, 6, 7, 8, 9, s, 10) + links.call(s) + links.at->x + fields(kept.v[2]) + sum(3);
}
int array(int n, int m) { int v[n][m]; for (int i = 0; i < n; i++) for (int j = 0; j < m; j++) v[i][j] = i * j; return v[n - 1][m - 1]; }
