/* Checksums: tables that are made and tables that are constants. */
#include <stdint.h>
static uint32_t table[256];
static const uint16_t nibbles[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                     0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};

static void make(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
}

uint32_t crc32(const void *data, unsigned long size) {
    const uint8_t *p = data;
    uint32_t c = ~0u;
    if (!table[1]) make();
    while (size--) c = table[(c ^ *p++) & 255] ^ (c >> 8);
    return ~c;
}

uint16_t crc16(const uint8_t *p, int size) {
    uint16_t c = 0xffff;
    while (size-- > 0) {
        c = nibbles[(c >> 12) ^ (*p >> 4)] ^ (c << 4);
        c = nibbles[(c >> 12) ^ (*p++ & 15)] ^ (c << 4);
    }
    return c;
}

uint32_t adler32(const uint8_t *p, int size) {
    uint32_t a = 1, b = 0;
    for (int i = 0; i < size; i++) a = (a + p[i]) % 65521, b = (b + a) % 65521;
    return b << 16 | a;
}

uint64_t fnv(const char *s) {
    uint64_t h = 0xcbf29ce484222325ull;
    while (*s) h = (h ^ (uint8_t)*s++) * 0x100000001b3ull;
    return h;
}
