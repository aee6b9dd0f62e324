/* `touch MiB PAGES_PER_SECOND` makes a child that dirties random pages of a region at that
 * rate; `mem` has every page verified. Each page carries its own index and twice the number of
 * times it was dirtied, so a page that a migration lost or tore shows as CORRUPT. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { words_per_page = 512, tick_ms = 10 };

static int to_child = -1, from_child = -1;
static uint64_t ticket;

/* The child's state. */
static uint64_t *region;
static long page_count, rate, total;

static void say(int to, const char *text) {
  if (write(to, text, strlen(text)) < 0) _exit(1);
}

static void fill(void) {
  uint64_t noise = 0x9e3779b97f4a7c15u;
  for (long page = 0; page < page_count; page++) {
    uint64_t *words = region + page * words_per_page;
    for (int i = 2; i < words_per_page - 1; i += 2) {
      noise = noise * 6364136223846793005u + 1442695040888963407u;
      words[i] = noise;
    }
    words[0] = (uint64_t)page;
  }
}

static void verify(int to) {
  long bad = 0, sum = 0;
  for (long page = 0; page < page_count; page++) {
    const uint64_t *words = region + page * words_per_page;
    if (words[0] != (uint64_t)page || words[1] != words[words_per_page - 1]) bad++;
    sum += (long)words[1];
  }
  char text[200];
  snprintf(text, sizeof text, "mem pages %ld bad %ld sum %ld total %ld %s\n", page_count, bad, sum, total,
           bad == 0 && sum == total ? "OK" : "CORRUPT");
  say(to, text);
}

static void dirty(long pages) {
  static uint64_t state = 88172645463325252u;
  for (; pages > 0; pages--) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    uint64_t *words = region + (long)(state % (uint64_t)page_count) * words_per_page;
    words[1]++;
    words[words_per_page / 2] = state;
    words[words_per_page - 1] = words[1];
    total++;
  }
}

static void child(int in, int out, long mebibytes) {
  page_count = mebibytes * 256;
  region = mmap(NULL, (size_t)mebibytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) {
    say(out, "nomem\n");
    _exit(0);
  }
  fill();
  long last_ms = monotonic_ms();
  double owed = 0;
  for (;;) {
    struct pollfd polled = {in, POLLIN, 0};
    if (poll(&polled, 1, tick_ms) > 0) {
      /* A command is one long: -1 asks for the check, anything else is the new rate. */
      long command;
      if (read(in, &command, sizeof command) != sizeof command) _exit(0);
      if (command < 0) {
        verify(out);
      } else {
        char text[100];
        rate = command;
        snprintf(text, sizeof text, "touched %ld pages rate %ld\n", page_count, rate);
        say(out, text);
      }
    }
    long now_ms = monotonic_ms();
    /* Time that the guest was stopped, or spent in a check, is not made up for. */
    long passed_ms = now_ms - last_ms > 100 ? 100 : now_ms - last_ms;
    last_ms = now_ms;
    owed += (double)rate * (double)passed_ms / 1000;
    dirty((long)owed);
    owed -= (double)(long)owed;
  }
}

static bool start_child(long mebibytes) {
  int down[2], up[2];
  if (pipe2(down, O_CLOEXEC) != 0) return false;
  if (pipe2(up, O_CLOEXEC) != 0) {
    close(down[0]);
    close(down[1]);
    return false;
  }
  pid_t pid = fork();
  if (pid == 0) {
    close(down[1]);
    child(down[0], up[1], mebibytes);
  }
  close(down[0]);
  close(up[1]);
  to_child = down[1];
  from_child = up[0];
  return pid > 0;
}

static void forget_child(void) {
  close(to_child);
  close(from_child);
  to_child = from_child = -1;
}

int memory_answers(void) { return from_child; }

void memory_command(struct connection *from, const char *line) {
  long mebibytes, wanted, command = -1;
  if (ticket != 0) {
    answer(from, "mem busy\n");
    return;
  }
  if (strcmp(line, "mem") != 0) {
    if (sscanf(line, "touch %ld %ld", &mebibytes, &wanted) != 2 || mebibytes < 1 || wanted < 0) {
      answer(from, "error: say touch <MiB> <pages a second>\n");
      return;
    }
    if (from_child < 0 && !start_child(mebibytes)) {
      answer(from, "nomem\n");
      return;
    }
    command = wanted;
  }
  if (from_child < 0) {
    answer(from, "mem none\n");
    return;
  }
  ticket = wait_for_answer(from);
  if (write(to_child, &command, sizeof command) != sizeof command) memory_readable();
}

/* The child's answers are shorter than PIPE_BUF, so each arrives whole. */
void memory_readable(void) {
  char text[256];
  ssize_t size = read(from_child, text, sizeof text - 1);
  if (size < 0 && errno == EINTR) return;
  struct connection *to = ticket != 0 ? take_waiting(ticket) : NULL;
  ticket = 0;
  text[size > 0 ? size : 0] = 0;
  if (to) answer(to, "%s", size > 0 ? text : "nomem\n");
  if (size <= 0 || strcmp(text, "nomem\n") == 0) forget_child();
}
