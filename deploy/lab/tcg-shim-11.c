/* Preloaded into QEMU 11.1 by the lab only, never installed for users: without KVM, the secondary
 * of that version goes on executing old code. With each checkpoint it copies the primary's memory
 * over its own, under code that the emulator (TCG) has already translated, and keeps the old
 * translations. As long as the guest's code stays where it is nobody notices; a guest that reboots,
 * or boots, in lock-step runs into nonsense on the secondary, so that each answer waits for the
 * next checkpoint, and a failover wakes a guest that panics.
 *
 * The other faults that tcg-shim.c mends in 7.2 are mended in 11.1 itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

typedef ssize_t sendmsg_fn(int, const struct msghdr *, int);
typedef void *get_cpu_fn(int);
/* The last parameter is a union of 8 bytes, which is passed as a number. */
typedef void cpu_work_fn(void *cpu, uint64_t nothing);
typedef void run_on_cpu_fn(void *cpu, cpu_work_fn *work, uint64_t nothing);

static sendmsg_fn *libc_sendmsg;

__attribute__((constructor)) static void find_libc(void) {
  libc_sendmsg = (sendmsg_fn *)dlsym(RTLD_NEXT, "sendmsg");
}

/* COLO's own messages are four bytes, big-endian. */
enum { vmstate_received = 5 };

static int colo_message(const struct msghdr *message) {
  static const unsigned char zeros[3];
  if (message->msg_iovlen != 1 || message->msg_iov[0].iov_len != 4) return -1;
  const unsigned char *bytes = message->msg_iov[0].iov_base;
  return memcmp(bytes, zeros, sizeof zeros) == 0 ? bytes[3] : -1;
}

/* Runs in the CPU's own thread, with every other CPU at rest. */
static void forget_translations(void *cpu, uint64_t nothing) {
  (void)nothing;
  void (*flush_code)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "tb_flush__exclusive_or_serial");
  void (*flush_addresses)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "tlb_flush");
  if (flush_code) flush_code();
  if (flush_addresses) flush_addresses(cpu);
}

/* The secondary says so when it has the whole checkpoint and has not loaded it yet. Its CPU stands
 * still until it has, and does this work before it executes anything. */
ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
  if (colo_message(message) == vmstate_received) {
    get_cpu_fn *get_cpu = (get_cpu_fn *)dlsym(RTLD_DEFAULT, "qemu_get_cpu");
    run_on_cpu_fn *run_on_cpu = (run_on_cpu_fn *)dlsym(RTLD_DEFAULT, "async_safe_run_on_cpu");
    void *cpu = get_cpu ? get_cpu(0) : NULL;
    if (cpu && run_on_cpu) run_on_cpu(cpu, forget_translations, 0);
  }
  return libc_sendmsg(socket, message, flags);
}
