/* The line protocol of TCP 7000. Whatever is not a command is a request: it gets
 * `<counter> <boot-id> <disk-errno> <echo>` once its counter is on disk. The counter lives in
 * RAM, so a hole or a step back in it betrays a guest that lost its memory. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

static unsigned boot_id;
static unsigned long counter;

void lines_begin(unsigned id) { boot_id = id; }

static bool is(const char *line, const char *command) { return strcmp(line, command) == 0; }

static const char *after(const char *line, const char *command) {
  size_t length = strlen(command);
  return strncmp(line, command, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

static void tell_state(struct connection *to) {
  struct timespec up, wall;
  clock_gettime(CLOCK_MONOTONIC, &up);
  clock_gettime(CLOCK_REALTIME, &wall);
  answer(to, "stat %lu %08x up=%ld.%03ld wall=%ld.%03ld\n", counter, boot_id, (long)up.tv_sec,
         up.tv_nsec / 1000000, (long)wall.tv_sec, wall.tv_nsec / 1000000);
}

static void crash(void) {
  int trigger = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
  if (trigger >= 0 && write(trigger, "c", 1) != 1) perror("sysrq");
}

void line_received(struct connection *from, char *line) {
  const char *rest;
  if (is(line, "reboot")) {
    sync();
    reboot(RB_AUTOBOOT);
  } else if (is(line, "poweroff")) {
    sync();
    reboot(RB_POWER_OFF);
  } else if (is(line, "panic")) {
    crash();
  } else if (is(line, "nowrite") || is(line, "write")) {
    disk_set_writing(is(line, "write"));
    answer(from, "ok\n");
  } else if (is(line, "stat")) {
    tell_state(from);
  } else if ((rest = after(line, "read")) != NULL) {
    char text[64];
    long got = disk_read_record(strtoul(rest, NULL, 10), text, sizeof text);
    answer(from, "r %ld %s\n", got, text);
  } else if ((rest = after(line, "dns")) != NULL) {
    query_begin(from, rest);
  } else if (is(line, "mem") || after(line, "touch") != NULL) {
    memory_command(from, line);
  } else {
    counter++;
    int error = disk_write_record(counter, boot_id, line);
    answer(from, "%lu %08x %d %s\n", counter, boot_id, error, line);
  }
}
