/* Matrices of bytes, integers and fixed-point numbers; what vector units do, in scalar loops. */
#include <stdint.h>
#define N 12
int32_t c[N][N];
static int8_t a[N][N], b[N][N] __attribute__((aligned(64)));

void fill(unsigned seed) {
    for (int i = 0; i < N * N; i++) seed = seed * 1103515245 + 12345, (&a[0][0])[i] = seed >> 16, (&b[0][0])[i] = seed >> 24;
}
void gemm(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            int32_t sum = 0;
            for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
}
int64_t determinant(int64_t m[4][4]) {
    int64_t previous = 1;
    for (int k = 0; k < 3; k++) {
        if (!m[k][k]) return 0;
        for (int i = k + 1; i < 4; i++)
            for (int j = k + 1; j < 4; j++) m[i][j] = (m[i][j] * m[k][k] - m[i][k] * m[k][j]) / previous;
        previous = m[k][k];
    }
    return m[3][3];
}
void gemv_q15(const int16_t *w, const int16_t *x, int16_t *y, int rows, int columns) {
    for (int r = 0; r < rows; r++, w += columns) {
        int64_t sum = 1 << 14;
        for (int i = 0; i < columns; i++) sum += (int32_t)w[i] * x[i];
        sum >>= 15;
        y[r] = sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
    }
}
void transpose(uint64_t m[8]) {
    for (int s = 1; s < 8; s *= 2)
        for (int i = 0; i < 8; i++)
            if (!(i & s)) { uint64_t t = m[i] >> s; m[i] ^= t & 0xff, m[i + s] ^= t << 32; }
}
