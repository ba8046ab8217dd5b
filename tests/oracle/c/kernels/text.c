/* Strings: literals of many kinds, searching, numbers as text. */
#include <stdarg.h>
static const char *const names[] = {"zero", "one", "two", "a \"quoted\" one", "tab\t, \\ and \001\377", "caf\303\251", ""};
char buffer[64] = "not empty";
static char empty[16];

int length(const char *s) { const char *p = s; while (*p) p++; return p - s; }
int compare(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return (unsigned char)*a - (unsigned char)*b; }
const char *find(const char *text, const char *word) {
    for (; *text; text++) {
        int i = 0;
        while (word[i] && text[i] == word[i]) i++;
        if (!word[i]) return text;
    }
    return *word ? 0 : text;
}
char *number(char *out, unsigned long value, unsigned base) {
    char digits[64];
    int n = 0;
    do digits[n++] = "0123456789abcdefghijklmnopqrstuvwxyz"[value % base]; while (value /= base);
    while (n) *out++ = digits[--n];
    return *out = 0, out;
}
int format(char *out, const char *text, ...) {
    va_list list;
    char *start = out;
    va_start(list, text);
    for (; *text; text++) {
        if (*text != '%') { *out++ = *text; continue; }
        switch (*++text) {
        case 'd': { long v = va_arg(list, int); if (v < 0) *out++ = '-', v = -v; out = number(out, v, 10); break; }
        case 'x': out = number(out, va_arg(list, unsigned), 16); break;
        case 'l': out = number(out, va_arg(list, unsigned long), 10); break;
        case 's': for (const char *s = va_arg(list, const char *); *s;) *out++ = *s++; break;
        case 'c': *out++ = va_arg(list, int); break;
        case '%': *out++ = '%'; break;
        default: return -1;
        }
    }
    va_end(list);
    *out = 0;
    return out - start;
}
int which(const char *s) { for (int i = 0; i < 7; i++) if (!compare(s, names[i])) return i; return -1; }
const char *spelt(int i) { return format(empty, "%d:%s%c", i, names[i], '!') < 0 ? buffer : empty; }
