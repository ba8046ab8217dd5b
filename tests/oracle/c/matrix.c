/* Matrix products in software floating point: single and double precision, the bits of every element. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { N = 7 };

static float a[N][N], b[N][N];
static double c[N][N], d[N][N];

int main(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (float)(i * 31 - j * 17) / 7.0f;
            b[i][j] = 1.0f / (float)(i + 2 * j + 1) - 0.25f;
            c[i][j] = (double)a[i][j] * 1e-3 + i;
            d[i][j] = (double)b[i][j] / 3.0 - j;
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            float single = 0.0f;
            double twice = 0.0;
            for (int k = 0; k < N; k++) {
                single += a[i][k] * b[k][j];
                twice += c[i][k] * d[k][j];
            }
            uint32_t bits;
            uint64_t more;
            memcpy(&bits, &single, sizeof bits);
            memcpy(&more, &twice, sizeof more);
            printf("%08lx %016llx\n", (unsigned long)bits, (unsigned long long)more);
        }
    return 0;
}
