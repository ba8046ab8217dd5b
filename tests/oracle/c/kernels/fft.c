/* A fixed-point FFT and filters. */
#include <stdint.h>
typedef struct { int16_t re, im; } Complex;
static const int16_t sines[17] = {0, 3212, 6393, 9512, 12539, 15446, 18204, 20787, 23170, 25329, 27245, 28898, 30273, 31356, 32137,
                                  32609, 32767};
static int16_t sine(int i) {                                    /* of 2 pi i / 64 */
    i &= 63;
    return i < 17 ? sines[i] : i < 33 ? sines[32 - i] : i < 49 ? -sines[i - 32] : -sines[64 - i];
}
static Complex multiply(Complex a, Complex b) {
    Complex c = {(a.re * b.re - a.im * b.im + 0x4000) >> 15, (a.re * b.im + a.im * b.re + 0x4000) >> 15};
    return c;
}
void fft(Complex *x, int bits) {
    int n = 1 << bits;
    for (int i = 1, j = 0; i < n; i++) {
        int bit = n >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) { Complex t = x[i]; x[i] = x[j]; x[j] = t; }
    }
    for (int size = 2; size <= n; size <<= 1)
        for (int i = 0; i < n; i += size)
            for (int k = 0; k < size / 2; k++) {
                Complex w = {sine(16 + 64 / size * k), -sine(64 / size * k)}, t = multiply(w, x[i + k + size / 2]), u = x[i + k];
                x[i + k] = (Complex){(u.re + t.re) >> 1, (u.im + t.im) >> 1};
                x[i + k + size / 2] = (Complex){(u.re - t.re) >> 1, (u.im - t.im) >> 1};
            }
}
static int32_t state[2][2];
int32_t biquad(int channel, int32_t x, const int32_t k[5]) {
    int64_t y = (int64_t)k[0] * x + state[channel][0];
    int32_t out = y >> 28;
    state[channel][0] = ((int64_t)k[1] * x - (int64_t)k[3] * out + state[channel][1]) >> 0;
    state[channel][1] = (int64_t)k[2] * x - (int64_t)k[4] * out;
    return out;
}
uint32_t square_root(uint64_t v) {
    uint64_t r = 0, b = 1ull << 62;
    while (b > v) b >>= 2;
    for (; b; b >>= 2) if (v >= r + b) v -= r + b, r = (r >> 1) + b; else r >>= 1;
    return r;
}
