/* Globals and functions named like registers, CSRs, instructions and words of the assembler. */
int t1, s1 = 3, gp, a0 = 5, zero, x5, ra[3], sp;
static int t2 = 4, s2[3], fp;
int *where[] = {&a0, &s1, s2 + 1, &x5};
long time, cycle, instret = 7, mstatus, nan, inf, hi, lo, rne, text, data;
extern int a3;
int a4(int);
static __attribute__((noinline)) int a5(int x) { return x * t2 + s2[x & 1]++; }
int add(int x) { t1 = x, s1 += gp, zero++, s2[x & 1] = x5, fp ^= x; return a0 + ra[x & 1] * sp + fp + a3 + a4(x) + a5(x); }
int t3(int x) { return x ? t3(x - 1) + 1 : a4(3); }
int (*call)(int) = a5;
long ret(void) { return time + cycle * instret - mstatus + nan / (inf | 1) + hi - lo + rne + text + data; }
int li(int x) { static int a1; return a1 += call(x) + add(x) + t3(x) + *where[x & 3]; }
