/* Lists, rings and a pool of memory; volatile, weak and aliased symbols. */
typedef struct node { struct node *next, *previous; int key; unsigned char tag : 3, used : 1; } Node;
static Node pool[32], *unused = pool;
static Node head = {&head, &head, -1, 7, 1};
volatile unsigned ready, taken;
static volatile unsigned char ring[64] __attribute__((aligned(16)));
int limit __attribute__((weak)) = 30;
extern int budget __attribute__((alias("limit")));

static Node *allocate(void) {
    if (unused && unused < pool + 32) { Node *n = unused++; n->used = 1; return n; }
    for (int i = 0; i < 32; i++) if (!pool[i].used) { pool[i].used = 1; return pool + i; }
    return 0;
}
Node *insert(int key) {
    Node *n = allocate(), *p = head.next;
    if (!n) return 0;
    while (p != &head && p->key < key) p = p->next;
    n->key = key, n->tag = key & 7, n->next = p, n->previous = p->previous;
    return p->previous = p->previous->next = n;
}
void erase(Node *n) { n->previous->next = n->next, n->next->previous = n->previous, n->used = 0; }
int total(void) { int sum = 0; for (Node *p = head.next; p != &head; p = p->next) sum += p->key * p->tag; return sum; }
int put(unsigned char c) { if (ready - taken == sizeof ring) return -1; ring[ready % sizeof ring] = c; ready++; return 0; }
int get(void) { if (ready == taken) return -1; int c = ring[taken % sizeof ring]; taken++; return c; }
__attribute__((weak)) void idle(void) {}
void wait(void) { while (ready == taken && limit-- > 0) idle(); }
long jobs[4] = {(long)insert, (long)&head.key, (long)(ring + 5), 0};
__attribute__((constructor)) static void begin(void) { insert(budget); }
__attribute__((destructor, used)) static void end(void) { limit = 0; }
