/* One loop over all sockets. TCP 7000 takes lines, 7001 swallows uploads, 7002 gives
 * downloads. Nothing here blocks: a client that reads slowly only delays itself, because its
 * own lines are not read while its answers cannot be sent. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { line_port = 7000, upload_port = 7001, download_port = 7002 };
enum { most_connections = 512, longest_line = 480, answer_room = 640, chunk = 32768 };

struct connection {
  int socket;
  int port;
  uint64_t waiting; /* ticket of the line whose answer is still to come, or 0 */
  bool closing;     /* send what is there, then close */
  char in[1024];
  size_t in_size;
  char out[4096];
  size_t out_size;
  uint64_t bulk_left;  /* bytes of an upload still to come, of a download still to go */
  uint64_t bulk_total;
  uint32_t bulk_hash;
};

static struct connection *connections[most_connections];
static int connection_count;
static uint64_t last_ticket;

long monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

void answer(struct connection *to, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  size_t room = sizeof to->out - to->out_size;
  int size = vsnprintf(to->out + to->out_size, room, format, arguments);
  va_end(arguments);
  /* The loop takes a line only while `answer_room` is free, so this always fits. */
  if (size > 0 && (size_t)size < room) to->out_size += (size_t)size;
}

uint64_t wait_for_answer(struct connection *of) { return of->waiting = ++last_ticket; }

/* The connection may be gone by the time its answer is there: then NULL. */
struct connection *take_waiting(uint64_t ticket) {
  for (int i = 0; i < connection_count; i++)
    if (connections[i]->waiting == ticket) {
      connections[i]->waiting = 0;
      return connections[i];
    }
  return NULL;
}

/* The hash of uploads: 32-bit FNV-1a, going on from what came before. */
static uint32_t hash_on(uint32_t hash, const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
  return hash;
}

/* Byte i of a download is byte i%4 (little-endian) of (i/4) * 2654435761, so a client can
 * check any stretch of it by itself. */
static void fill_pattern(uint32_t *words, size_t count, uint64_t first_word) {
  for (size_t i = 0; i < count; i++) words[i] = (uint32_t)(first_word + i) * 2654435761u;
}

static void upload_finished(struct connection *c) {
  answer(c, "got %llu %08x\n", (unsigned long long)c->bulk_total, c->bulk_hash);
}

static void bulk_line(struct connection *c, const char *line) {
  const char *command = c->port == upload_port ? "put " : "get ";
  char *end;
  uint64_t size = strtoull(line + 4, &end, 10);
  if (strncmp(line, command, 4) != 0 || end == line + 4 || *end != 0) {
    answer(c, "error: say %s<bytes>\n", command);
    c->closing = true;
    return;
  }
  c->bulk_left = c->bulk_total = size;
  c->bulk_hash = 2166136261u;
  if (c->port == upload_port && size == 0) upload_finished(c);
}

/* What has been read but not yet understood begins with the rest of an upload, or with a line. */
static void digest(struct connection *c) {
  size_t at = 0;
  while (at < c->in_size && !c->closing && !c->waiting && c->out_size < sizeof c->out - answer_room) {
    if (c->bulk_left > 0 && c->port == download_port) break;
    if (c->bulk_left > 0) {
      size_t size = c->in_size - at;
      if (size > c->bulk_left) size = (size_t)c->bulk_left;
      c->bulk_hash = hash_on(c->bulk_hash, c->in + at, size);
      c->bulk_left -= size;
      at += size;
      if (c->bulk_left == 0) upload_finished(c);
      continue;
    }
    char *end = memchr(c->in + at, '\n', c->in_size - at);
    if (!end) {
      if (c->in_size - at < longest_line) break;
      answer(c, "error: line too long\n");
      c->closing = true;
      break;
    }
    *end = 0;
    char *line = c->in + at;
    at = (size_t)(end + 1 - c->in);
    if (c->port == line_port) line_received(c, line);
    else bulk_line(c, line);
  }
  memmove(c->in, c->in + at, c->in_size - at);
  c->in_size -= at;
}

/* False: this connection is over. */
static bool receive_some(struct connection *c) {
  static char bulk[chunk];
  bool straight = c->port == upload_port && c->bulk_left > 0 && c->in_size == 0;
  char *into = straight ? bulk : c->in + c->in_size;
  size_t room = straight ? sizeof bulk : sizeof c->in - c->in_size;
  if (straight && room > c->bulk_left) room = (size_t)c->bulk_left;
  ssize_t size = recv(c->socket, into, room, MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) {
    /* The other side has said all it wanted to say; it may still be listening. */
    c->closing = true;
    return true;
  }
  if (!straight) {
    c->in_size += (size_t)size;
    return true;
  }
  c->bulk_hash = hash_on(c->bulk_hash, bulk, (size_t)size);
  c->bulk_left -= (size_t)size;
  if (c->bulk_left == 0) upload_finished(c);
  return true;
}

static bool send_some(struct connection *c) {
  if (c->out_size > 0) {
    ssize_t size = send(c->socket, c->out, c->out_size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    memmove(c->out, c->out + size, c->out_size - (size_t)size);
    c->out_size -= (size_t)size;
    if (c->out_size > 0) return true;
  }
  if (c->port == download_port && c->bulk_left > 0) {
    static uint32_t words[chunk / 4 + 1];
    uint64_t offset = c->bulk_total - c->bulk_left;
    size_t size = c->bulk_left < chunk ? (size_t)c->bulk_left : chunk;
    fill_pattern(words, sizeof words / 4, offset / 4);
    ssize_t sent = send(c->socket, (char *)words + offset % 4, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    c->bulk_left -= (size_t)sent;
  }
  return true;
}

static bool has_to_send(const struct connection *c) {
  return c->out_size > 0 || (c->port == download_port && c->bulk_left > 0);
}

static short interest_of(const struct connection *c) {
  short events = has_to_send(c) ? POLLOUT : 0;
  bool may_read = !c->closing && !c->waiting && c->in_size < sizeof c->in && !(events & POLLOUT);
  return may_read ? events | POLLIN : events;
}

/* False: close it. */
static bool attend(struct connection *c, short events) {
  /* POLLHUP is a reset here, since this side never shuts its half down first. */
  if (events & (POLLERR | POLLHUP | POLLNVAL)) return false;
  if ((events & POLLIN) && !c->closing && !receive_some(c)) return false;
  bool was_closing = c->closing;
  c->closing = false; /* lines that came before the end are still answered */
  size_t before;
  do {
    before = c->in_size;
    digest(c);
    if (!send_some(c)) return false;
  } while (c->out_size == 0 && c->in_size > 0 && c->in_size < before);
  c->closing = c->closing || was_closing;
  return !c->closing || has_to_send(c) || c->waiting;
}

static void admit(int listener, int port) {
  int one = 1;
  int s = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (s < 0) return;
  struct connection *c = connection_count < most_connections ? calloc(1, sizeof *c) : NULL;
  if (!c) {
    close(s);
    return;
  }
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  c->socket = s;
  c->port = port;
  connections[connection_count++] = c;
}

static void dismiss(int index) {
  close(connections[index]->socket);
  free(connections[index]);
  connections[index] = connections[--connection_count];
}

static int listen_on(int port) {
  int one = 1;
  int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(s, (struct sockaddr *)&any, sizeof any) != 0 || listen(s, 128) != 0)
    printf("port %d: %s\n", port, strerror(errno));
  return s;
}

void serve(unsigned boot_id) {
  static const int ports[] = {line_port, upload_port, download_port};
  enum { listeners = 3, query = listeners, memory, first };
  static struct pollfd polled[first + most_connections];
  for (int i = 0; i < listeners; i++) polled[i] = (struct pollfd){listen_on(ports[i]), POLLIN, 0};
  lines_begin(boot_id);
  long up_ms = monotonic_ms();
  printf("READY boot=%08x up=%ld.%03ld\n", boot_id, up_ms / 1000, up_ms % 1000);

  for (;;) {
    polled[query] = (struct pollfd){query_socket(), POLLIN, 0};
    polled[memory] = (struct pollfd){memory_answers(), POLLIN, 0};
    int count = connection_count;
    for (int i = 0; i < count; i++)
      polled[first + i] = (struct pollfd){connections[i]->socket, interest_of(connections[i]), 0};
    if (poll(polled, (nfds_t)(first + count), query_tick()) < 0) continue;
    if (polled[query].revents) query_readable();
    if (polled[memory].revents) memory_readable();
    /* From the last to the first: dismissing moves the last one into the gap. A connection that
     * was only waiting is attended too, since its answer may just have been written. */
    for (int i = count - 1; i >= 0; i--)
      if (!attend(connections[i], polled[first + i].revents)) dismiss(i);
    for (int i = 0; i < listeners; i++)
      if (polled[i].revents) admit(polled[i].fd, ports[i]);
  }
}
