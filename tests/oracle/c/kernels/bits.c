/* Bit tricks, long constants, wide arithmetic. */
#include <stdint.h>
typedef unsigned __int128 Wide;
uint64_t reverse(uint64_t x) {
    x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
    x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(x);
}
int ones(uint64_t x) { int n = 0; for (; x; x &= x - 1) n++; return n; }
int zeros(uint32_t x) { return x ? __builtin_clz(x) + __builtin_ctz(x) : 64; }
uint64_t mix(uint64_t x) { x ^= x >> 33, x *= 0xff51afd7ed558ccd, x ^= x >> 33, x *= 0xc4ceb9fe1a85ec53; return x ^ x >> 33; }
uint32_t rotate(uint32_t x, int n) { return x << (n & 31) | x >> (-n & 31); }
uint64_t high(uint64_t a, uint64_t b) { return (Wide)a * b >> 64; }
Wide power(Wide b, unsigned e, uint64_t m) { Wide r = 1; for (; e; e >>= 1, b = b * b % m) if (e & 1) r = r * b % m; return r; }
uint32_t gray(uint32_t x) { return x ^ x >> 1; }
int64_t saturate(int64_t a, int64_t b) { int64_t c; return __builtin_add_overflow(a, b, &c) ? a < 0 ? INT64_MIN : INT64_MAX : c; }
uint64_t part(uint64_t x, int at, int n) { return x >> at & ((n < 64 ? 1ull << n : 0) - 1); }
unsigned divide(unsigned x) { return x / 7 + x % 10 + x / 1000 + (int)x / -3; }
const uint64_t masks[] = {1, 0x7ff, 0x800, 0xfffffffff, 0x80000000, 0x7fffffff, 0x7ffff800, 0x123456789abcdef0, -1, -2048, -2049};
uint64_t constants(int i) {
    uint64_t v[] = {0xdeadbeef, 0xffffffff00000000, 0x8000000000000000, 0x7fffffffffffffff, 0xfffff000, 4096, -4097, 0x100000001};
    return v[i & 7] ^ masks[i % 11];
}
