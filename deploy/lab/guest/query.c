/* `dns ADDRESS PORT`: the guest itself asks a question over UDP, as a resolver would, and
 * tells how long the reply took: `dns <ms> <tries>`, or `dns timeout <tries>`. It is the one
 * kind of traffic that the guest begins. One question at a time. */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { retry_after_ms = 1000, most_tries = 10 };

static struct {
  int socket; /* 0 when nothing is being asked: descriptor 0 is the console */
  uint64_t ticket;
  uint16_t id;
  int tries;
  long began_ms, next_try_ms;
} asked;

int query_socket(void) { return asked.socket > 0 ? asked.socket : -1; }

/* A question for the A record of `colo.test`. */
static void send_question(void) {
  unsigned char packet[27] = {0,   0,   1,   0,   0, 1,   0,   0,   0,   0, 0, 0, 4, 'c',
                              'o', 'l', 'o', 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1};
  packet[0] = (unsigned char)(asked.id >> 8);
  packet[1] = (unsigned char)asked.id;
  /* A failed send is like a lost packet: the next try follows. */
  (void)!send(asked.socket, packet, sizeof packet, MSG_DONTWAIT);
  asked.tries++;
  asked.next_try_ms = monotonic_ms() + retry_after_ms;
}

static void finish(bool answered) {
  struct connection *to = take_waiting(asked.ticket);
  if (to && answered) answer(to, "dns %ld %d\n", monotonic_ms() - asked.began_ms, asked.tries);
  else if (to) answer(to, "dns timeout %d\n", asked.tries);
  close(asked.socket);
  asked.socket = 0;
}

void query_begin(struct connection *from, const char *arguments) {
  char address[32];
  unsigned port;
  struct sockaddr_in to = {.sin_family = AF_INET};
  if (sscanf(arguments, "%31s %u", address, &port) != 2 || inet_pton(AF_INET, address, &to.sin_addr) != 1) {
    answer(from, "error: say dns <address> <port>\n");
    return;
  }
  if (asked.socket > 0) {
    answer(from, "dns busy\n");
    return;
  }
  to.sin_port = htons((uint16_t)port);
  int s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to) != 0) {
    if (s >= 0) close(s);
    answer(from, "error: no way to %s\n", address);
    return;
  }
  asked.socket = s;
  asked.ticket = wait_for_answer(from);
  asked.id++;
  asked.tries = 0;
  asked.began_ms = monotonic_ms();
  send_question();
}

void query_readable(void) {
  unsigned char packet[512];
  ssize_t size = recv(asked.socket, packet, sizeof packet, MSG_DONTWAIT);
  if (size >= 2 && packet[0] == (unsigned char)(asked.id >> 8) && packet[1] == (unsigned char)asked.id) finish(true);
}

/* How long the loop may sleep, in ms; -1 for ever. */
int query_tick(void) {
  if (asked.socket <= 0) return -1;
  long left_ms = asked.next_try_ms - monotonic_ms();
  if (left_ms > 0) return (int)left_ms;
  if (asked.tries >= most_tries) {
    finish(false);
    return 0;
  }
  send_question();
  return retry_after_ms;
}
