/* SHA-256 of messages of several lengths, after FIPS 180-4: sections 4.1.2, 4.2.2, 5.1.1 and 6.2. The constants are computed as
   the standard defines them: fractional parts of square and cube roots of the first primes, by integer arithmetic. */
#include <stdint.h>
#include <stdio.h>

static uint32_t constants[64], start[8];
static uint8_t message[256];

/* The first 32 bits of the fraction of the root of n of degree 2 or 3: the integer root of n << 64 or n << 96, bit by bit. */
static uint32_t fraction(uint32_t n, int degree)
{
    unsigned __int128 power = (unsigned __int128)n << 32 * degree;
    uint64_t root = 0;
    for (int bit = 36; bit >= 0; bit--) {
        uint64_t next = root | 1ull << bit;
        unsigned __int128 square = (unsigned __int128)next * next;      /* below 2**74, the cube below 2**111 */
        if ((degree == 2 ? square : square * next) <= power)
            root = next;
    }
    return (uint32_t)root;
}

static void prepare(void)
{
    int found = 0;
    for (uint32_t n = 2; found < 64; n++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= n; d++)
            prime &= n % d != 0;
        if (!prime)
            continue;
        if (found < 8)
            start[found] = fraction(n, 2);
        constants[found++] = fraction(n, 3);
    }
}

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void block(uint32_t hash[8], const uint8_t *data)
{
    uint32_t w[64], a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4], f = hash[5], g = hash[6], h = hash[7];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)data[4 * t] << 24 | data[4 * t + 1] << 16 | data[4 * t + 2] << 8 | data[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        uint32_t x = w[t - 15], y = w[t - 2];
        w[t] = (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10) + w[t - 7] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[t - 16];
    }
    for (int t = 0; t < 64; t++) {
        uint32_t first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants[t] + w[t];
        uint32_t second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    hash[0] += a, hash[1] += b, hash[2] += c, hash[3] += d, hash[4] += e, hash[5] += f, hash[6] += g, hash[7] += h;
}

static void sha256(uint32_t hash[8], const uint8_t *data, uint64_t bytes)
{
    uint8_t last[128] = {0};
    uint64_t whole = bytes / 64 * 64, rest = bytes - whole, padded = rest < 56 ? 64 : 128;
    for (int i = 0; i < 8; i++)
        hash[i] = start[i];
    for (uint64_t at = 0; at < whole; at += 64)
        block(hash, data + at);
    for (uint64_t i = 0; i < rest; i++)
        last[i] = data[whole + i];
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        last[padded - 1 - i] = (uint8_t)(8 * bytes >> 8 * i);
    for (uint64_t at = 0; at < padded; at += 64)
        block(hash, last + at);
}

int main(void)
{
    static const uint8_t lengths[] = {0, 3, 55, 56, 64, 119, 120, 255};
    for (int i = 0; i < 256; i++)
        message[i] = (uint8_t)(i * 167 + 13);
    prepare();
    for (unsigned i = 0; i < sizeof lengths; i++) {
        uint32_t hash[8];
        sha256(hash, message, lengths[i]);
        printf("%3d ", lengths[i]);
        for (int j = 0; j < 8; j++)
            printf("%08lx", (unsigned long)hash[j]);
        printf("\n");
    }
    return 0;
}
