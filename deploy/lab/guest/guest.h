/* What the parts of the guest's only program tell each other: boot.c prepares the machine,
 * connections.c moves bytes, lines.c answers the line protocol, disk.c keeps the records,
 * query.c sends a question of its own, memory.c dirties RAM. */
#ifndef GUEST_H
#define GUEST_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* boot.c: the value of NAME= on the kernel's command line, or the fallback. */
const char *kernel_argument(const char *name, const char *fallback);

/* disk.c: one record a counter, in slots of one sector. */
void disk_open(const char *path);
int disk_write_record(unsigned long counter, unsigned boot_id, const char *echo);
long disk_read_record(unsigned long counter, char *text, size_t size);
void disk_set_writing(bool on);

/* connections.c */
struct connection;
void serve(unsigned boot_id) __attribute__((noreturn));
void answer(struct connection *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line whose answer comes later: no further line of this connection is read until then. */
uint64_t wait_for_answer(struct connection *of);
struct connection *take_waiting(uint64_t ticket);
long monotonic_ms(void);

/* lines.c */
void lines_begin(unsigned boot_id);
void line_received(struct connection *from, char *line);

/* query.c: file descriptors to watch, what to do when one is readable, and its timers. */
int query_socket(void);
void query_begin(struct connection *from, const char *arguments);
void query_readable(void);
int query_tick(void);

/* memory.c */
int memory_answers(void);
void memory_command(struct connection *from, const char *line);
void memory_readable(void);

#endif
