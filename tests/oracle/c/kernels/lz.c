/* Compression: long loops, tables of positions, a function of more than 4 KB at -O3. */
#include <stdint.h>
static uint16_t last[1 << 12];
static unsigned hash(const uint8_t *p) { return (p[0] | p[1] << 8 | p[2] << 16) * 2654435761u >> 20; }

int pack(const uint8_t *in, int size, uint8_t *out) {
    uint8_t *start = out, *flags = out++;
    int bit = 0, i = 0;
    *flags = 0;
    while (i < size) {
        if (bit == 8) bit = 0, flags = out++, *flags = 0;
        int length = 0, from = 0;
        if (i + 3 <= size) {
            unsigned h = hash(in + i);
            from = last[h], last[h] = i;
            if (from < i && i - from < 4096)
                while (length < 18 && i + length < size && in[from + length] == in[i + length]) length++;
        }
        if (length >= 3) {
            *flags |= 1 << bit;
            *out++ = i - from, *out++ = (i - from) >> 8 << 4 | (length - 3);
            i += length;
        } else *out++ = in[i++];
        bit++;
    }
    return out - start;
}
int unpack(const uint8_t *in, int size, uint8_t *out) {
    uint8_t *start = out;
    const uint8_t *end = in + size;
    while (in < end) {
        int flags = *in++;
        for (int bit = 0; bit < 8 && in < end; bit++, flags >>= 1) {
            if (!(flags & 1)) { *out++ = *in++; continue; }
            int distance = in[0] | in[1] >> 4 << 8, length = (in[1] & 15) + 3;
            in += 2;
            while (length--) *out = out[-distance], out++;
        }
    }
    return out - start;
}
#define OTHER v[(i * 7 + 3) & 63]
#define STEP { if (v[i] > OTHER) { long t = v[i]; v[i] = OTHER * 3; OTHER = t + i; if (t < 0) goto bad; } i++; }
#define EIGHT STEP STEP STEP STEP STEP STEP STEP STEP
long far(long *v) {                                              /* branches out of their reach of 4 KiB */
    int i = 0;
    EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT
    i = 0;
    EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT
    return v[0];
bad:
    return -v[63];
}
