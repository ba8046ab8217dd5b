/* A state machine in switches: jump tables in .rodata, dense, sparse and of strings. */
enum state { START, SIGN, DIGITS, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS, END, WRONG };
static int counts[WRONG + 1];

enum state next(enum state s, char c) {
    int digit = c >= '0' && c <= '9';
    switch (s) {
    case START: return c == '-' || c == '+' ? SIGN : digit ? DIGITS : c == '.' ? POINT : WRONG;
    case SIGN: return digit ? DIGITS : c == '.' ? POINT : WRONG;
    case DIGITS: return digit ? DIGITS : c == '.' ? FRACTION : c == 'e' || c == 'E' ? EXPONENT : !c ? END : WRONG;
    case POINT: return digit ? FRACTION : WRONG;
    case FRACTION: return digit ? FRACTION : c == 'e' || c == 'E' ? EXPONENT : !c ? END : WRONG;
    case EXPONENT: return c == '-' || c == '+' ? EXPONENT_SIGN : digit ? EXPONENT_DIGITS : WRONG;
    case EXPONENT_SIGN: return digit ? EXPONENT_DIGITS : WRONG;
    case EXPONENT_DIGITS: return digit ? EXPONENT_DIGITS : !c ? END : WRONG;
    default: return WRONG;
    }
}
int run(const char *text) {
    enum state s = START;
    while (s < END) counts[s = next(s, *text++)]++;
    return s == END;
}
long operate(int code, long a, long b) {
    switch (code) {
    case 0: return a + b;  case 1: return a - b;  case 2: return a * b;   case 3: return b ? a / b : 0;
    case 4: return a & b;  case 5: return a | b;  case 6: return a ^ b;   case 7: return a << (b & 63);
    case 8: return a >> (b & 63); case 9: return (unsigned long)a >> (b & 63); case 10: return a < b;
    case 100: return -a;   case 1000: return ~a;  case -5: return !a;     case 100000: return a == b;
    default: return a % (b | 1);
    }
}
const char *word(int n) {
    static const char *const words[] = {"null", "eins", "zwei", "drei"};
    switch (n) { case 10: return "zehn"; case 11: return "elf"; case 12: return "zw\303\266lf"; case 20: return "zwanzig";
                 default: return n >= 0 && n < 4 ? words[n] : "viele"; }
}
int threaded(const unsigned char *code) {
    static const void *const labels[] = {&&push, &&add, &&twice, &&stop};
    int stack[8], top = 0;
    goto *labels[*code++];
push:  stack[top++] = *code++; goto *labels[*code++];
add:   top--; stack[top - 1] += stack[top]; goto *labels[*code++];
twice: stack[top - 1] *= 2; goto *labels[*code++];
stop:  return stack[top - 1];
}
