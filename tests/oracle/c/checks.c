/* Integer work whose results Python can state: one line "name value" each. Compiled by GCC for rv64im, without a library. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

void write_text(const char *text, u64 bytes);

static u64 lines;

static void report(const char *name, u64 value)
{
    char text[64];
    u64 used = 0;
    while (name[used]) {
        text[used] = name[used];
        used++;
    }
    text[used++] = ' ';
    for (int shift = 60; shift >= 0; shift -= 4)
        text[used++] = "0123456789abcdef"[value >> shift & 15];
    text[used++] = '\n';
    write_text(text, used);
    lines++;
}

static u32 crc32(const u8 *data, u64 bytes)
{
    u32 crc = ~0u;
    while (bytes--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
    }
    return ~crc;
}

static u64 fibonacci(u64 n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static u64 power(u64 base, u64 exponent, u64 modulus)          /* modulus below 2**64: products need 128 bits */
{
    u64 result = 1;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = (unsigned __int128)result * base % modulus;
        base = (unsigned __int128)base * base % modulus;
    }
    return result;
}

static void sort(s64 *values, s64 low, s64 high)
{
    if (low >= high)
        return;
    s64 pivot = values[(low + high) / 2], left = low, right = high;
    while (left <= right) {
        while (values[left] < pivot) left++;
        while (values[right] > pivot) right--;
        if (left <= right) {
            s64 swap = values[left];
            values[left++] = values[right];
            values[right--] = swap;
        }
    }
    sort(values, low, right);
    sort(values, left, high);
}

static u8 composite[1000];
static s64 numbers[100];
static short halves[16] = {-1, 2, -300, 4000, -5000, 6, 7, -8, 9, 10, -11, 12, 13, -14, 15, 32767};
static u64 (*const operations[])(u64) = {fibonacci};

int main(void)
{
    report("crc32", crc32((const u8 *)"The Slim machine", 16));
    report("fibonacci", operations[lines - 1](15));
    report("power", power(0x123456789abcdef1, 65537, 0xfffffffffffffff1));

    u64 primes = 0;
    for (u64 i = 2; i < 1000; i++)
        if (!composite[i]) {
            primes++;
            for (u64 j = i * i; j < 1000; j += i)
                composite[j] = 1;
        }
    report("primes", primes);

    u64 state = 88172645463325252;
    for (int i = 0; i < 100; i++) {                             /* xorshift64 */
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers[i] = (s64)state;
    }
    sort(numbers, 0, 99);
    report("smallest", numbers[0]);
    report("median", numbers[50]);

    s64 quotients = 0;
    u32 remainders = 0;
    for (int i = 1; i < 100; i++) {
        quotients += numbers[i] / numbers[100 - i];
        remainders += (u32)numbers[i] % (u32)(numbers[i - 1] | 1);
    }
    report("quotients", quotients);
    report("remainders", remainders);

    int sum = 0;
    for (int i = 0; i < 16; i++)
        sum += halves[i] * halves[15 - i] / (i + 1);
    report("halves", (s64)sum);

    float product = 1.0f;                                       /* floating point in software: thousands of integer operations */
    double series = 0.0;
    for (int i = 1; i <= 30; i++) {
        product = product * 1.1f + (float)i / 3.0f;
        series += 1.0 / ((double)i * i);
    }
    union { float f; u32 bits; } single = {product};
    union { double d; u64 bits; } twice = {series};
    report("product", single.bits);
    report("series", twice.bits);
    return (int)lines;
}
