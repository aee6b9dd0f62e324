/* Preloaded into QEMU 7.2 by the lab only, never installed for users: without KVM, COLO of that
 * version cannot live through its checkpoints, for two reasons that lie in the emulator (TCG).
 *
 * 1. The COLO thread waits for a virtual CPU (run_on_cpu, by way of tcg_log_global_after_sync)
 *    without holding QEMU's big lock. pthread_cond_wait on a lock that one does not hold leaves it
 *    locked for ever. And because the CPU was woken without the lock too, the waking may have
 *    fallen between its look and its sleep, and is lost.
 * 2. After each checkpoint the secondary copies the primary's memory under code that it has
 *    already translated, and goes on executing the old translation.
 *
 * A third fault, pages whose dirtying is not seen, is avoided by a memory size for which QEMU
 * takes its slower, right path: see side-root.sh. QEMU 11.1 needs the second only: tcg-shim-11.c. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef int cond_wait_fn(pthread_cond_t *, pthread_mutex_t *);
typedef int cond_timedwait_fn(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
typedef int cond_broadcast_fn(pthread_cond_t *);
typedef ssize_t sendmsg_fn(int, const struct msghdr *, int);
typedef void *get_cpu_fn(int);
typedef void on_cpu_fn(void *);

static cond_wait_fn *libc_cond_wait;
static cond_timedwait_fn *libc_cond_timedwait;
static cond_broadcast_fn *libc_cond_broadcast;
static sendmsg_fn *libc_sendmsg;

/* The first versions of these symbols have another layout of the condition; QEMU uses the second. */
static const char *const second_version = "GLIBC_2.3.2";

__attribute__((constructor)) static void find_libc(void) {
  libc_cond_wait = (cond_wait_fn *)dlvsym(RTLD_NEXT, "pthread_cond_wait", second_version);
  libc_cond_timedwait = (cond_timedwait_fn *)dlvsym(RTLD_NEXT, "pthread_cond_timedwait", second_version);
  libc_cond_broadcast = (cond_broadcast_fn *)dlvsym(RTLD_NEXT, "pthread_cond_broadcast", second_version);
  libc_sendmsg = (sendmsg_fn *)dlsym(RTLD_NEXT, "sendmsg");
}

/* What this thread woke last: the CPU that it is about to wait for. */
static __thread pthread_cond_t *last_woken;

int pthread_cond_broadcast(pthread_cond_t *condition) {
  last_woken = condition;
  return libc_cond_broadcast(condition);
}

static bool holds(const pthread_mutex_t *mutex) {
  static __thread int self;
  if (self == 0) self = (int)syscall(SYS_gettid);
  return mutex->__data.__owner == self;
}

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
  if (holds(mutex)) return libc_cond_wait(condition, mutex);
  enum { millisecond = 1000000, second = 1000000000 };
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += millisecond;
  if (until.tv_nsec >= second) {
    until.tv_nsec -= second;
    until.tv_sec++;
  }
  /* Wake it again, this time under the lock, and come back soon: the caller asks its own condition in a loop. */
  pthread_mutex_lock(mutex);
  if (last_woken) libc_cond_broadcast(last_woken);
  libc_cond_timedwait(condition, mutex, &until);
  pthread_mutex_unlock(mutex);
  return 0;
}

/* COLO's own messages are four bytes, big-endian. */
enum { checkpoint_reply = 2, vmstate_send = 3, vmstate_received = 5 };

static int colo_message(const struct msghdr *message) {
  static const unsigned char zeros[3];
  if (message->msg_iovlen != 1 || message->msg_iov[0].iov_len != 4) return -1;
  const unsigned char *bytes = message->msg_iov[0].iov_base;
  return memcmp(bytes, zeros, sizeof zeros) == 0 ? bytes[3] : -1;
}

/* At each of these messages the sender's CPU stands still: what is forgotten now is made anew before it goes on. */
static void forget_translations(int message) {
  get_cpu_fn *get_cpu = (get_cpu_fn *)dlsym(RTLD_DEFAULT, "qemu_get_cpu");
  on_cpu_fn *flush_code = (on_cpu_fn *)dlsym(RTLD_DEFAULT, "tb_flush");
  on_cpu_fn *flush_addresses = (on_cpu_fn *)dlsym(RTLD_DEFAULT, "tlb_flush");
  void *cpu = get_cpu ? get_cpu(0) : NULL;
  if (!cpu) return;
  if (flush_code && message != vmstate_send) flush_code(cpu);
  if (flush_addresses) flush_addresses(cpu);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
  switch (colo_message(message)) {
    case checkpoint_reply:
    case vmstate_send:
    case vmstate_received:
      forget_translations(colo_message(message));
  }
  return libc_sendmsg(socket, message, flags);
}
