/* printf: the conversions that C and Python's % share. tests/oracle/test_picolibc.py makes the same lines. */
#include <stdio.h>

int main(void)
{
    static const long long integers[] = {0, 1, -1, 42, -12345, 2147483647, -2147483648LL, 9223372036854775807LL,
                                         -9223372036854775807LL - 1};
    static const double numbers[] = {0.0, 1.0, -1.0, 0.625, 3.14159265358979, -2.71828182845905, 1e-5, 123456.789, 1e10,
                                     -1.6e-10, 6.02214076e23, 0.1, 2.75, 99999.96, 1e100};
    static const char *const texts[] = {"", "a", "Slim", "a longer text"};
    for (unsigned i = 0; i < sizeof integers / sizeof *integers; i++) {
        long long n = integers[i];
        printf("[%lld] [%12lld] [%-12lld] [%+lld] [% lld] [%012lld] [%.5lld]\n", n, n, n, n, n, n, n);
        unsigned long long u = (unsigned long long)n;
        printf("[%llx] [%20llX] [%-20llo] [%#llx] [%024llx]\n", u, u, u, u, u);
        printf("[%d] [%u] [%x] [%5d] [%c]\n", (int)n, (unsigned)n, (unsigned)n, (int)n, 'A' + (int)(u % 26));
    }
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double x = numbers[i];
        printf("[%e] [%.3e] [%14.2E] [%-14.0e] [%+.8e]\n", x, x, x, x, x);
        printf("[%g] [%.3g] [%12g] [%-12G] [%.10g] [%012g]\n", x, x, x, x, x, x);
        if (x < 1e15)
            printf("[%f] [%.1f] [%12.3f] [%-12.0f] [%+012.2f]\n", x, x, x, x, x);
    }
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        printf("[%s] [%8s] [%-8s] [%.2s] [%8.3s] %%\n", texts[i], texts[i], texts[i], texts[i], texts[i]);
    return 37;
}
