/* Objects and functions in sections of their own, with alignments; one in the scratchpad. */
static int in_scratchpad[8] __attribute__((section(".sram"))) = {1, 2, 3};
const unsigned char page[5000] __attribute__((section(".rodata.page"), aligned(4096))) = {[4999] = 1};
int in_data __attribute__((section(".data.own"))) = 9, aligned __attribute__((aligned(256))) = 1, zeros[500];
static char small[3] __attribute__((aligned(32))), *pointer = small;
const char *const constant = "in .rodata", *variable = "in .data";
static const short half = 77;
__attribute__((section(".text.hot"), aligned(64))) int hot(int x) { return in_scratchpad[x & 7] + half; }
__attribute__((cold)) int cold(int x) { return x < 0 ? hot(-x) : page[x]; }
__attribute__((noreturn)) void leave(int code) {
    register long a0 __asm__("a0") = code, a7 __asm__("a7") = 93;
    __asm__ volatile("ecall" : : "r"(a0), "r"(a7));
    __builtin_unreachable();
}
void work(int n) {
    for (int i = 0; i < n; i++) zeros[i % 500] += cold(i) + *pointer + constant[i & 3] + variable[i & 3];
    if (zeros[0] > aligned + in_data) leave(1);
    __asm__ volatile("fence rw, rw\n\tcsrr %0, cycle" : "=r"(n));
    leave(n & 1);
}
