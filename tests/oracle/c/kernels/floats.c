/* Floating point without a unit for it: calls of the compiler's library, constants in every section they go to. */
static const float weights[] = {0.5f, -1.25f, 3.4028235e38f, 1e-45f, 0.1f, -0.0f};
const double tau = 6.283185307179586;
float bias = 1.5f, scale = 0.0f;
long double wide = 1.1L;

float dot(const float *x, int n) { float sum = bias; for (int i = 0; i < n; i++) sum += weights[i % 6] * x[i]; return sum * scale; }
double series(double x, int n) { double t = 1, s = 0; for (int i = 1; i <= n; i++) s += t, t *= x / i; return s; }
double newton(double v) { double r = v > 1 ? v : 1; for (int i = 0; i < 20; i++) r = 0.5 * (r + v / r); return r; }
float silu(float x) { return x / (1.0f + (float)series(-x, 12)); }
int round_to(double x) { return (int)(x + (x < 0 ? -0.5 : 0.5)); }
unsigned long bits(double x) { unsigned long u; __builtin_memcpy(&u, &x, 8); return u >> 52 & 0x7ff; }
long double longer(long a) { return wide * a + tau; }
int order(float a, float b) { return a < b ? -1 : a > b ? 1 : a == b ? 0 : 2; }
double integers(int i, unsigned u, long l, unsigned long m) { return i + (double)u * 2.0 - l / 3.0f + m; }
double polynomial(double x) { return ((1.0 / 3 * x - 0.25) * x + 1e300) * x - __builtin_inf() + __builtin_nan(""); }
