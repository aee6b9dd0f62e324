/* The records by which a test proves that nothing acknowledged was lost: record N stands at
 * 1 MiB + (N modulo 100000) * 512 on every disk, and is on the disk (O_DIRECT, O_DSYNC)
 * before anybody hears of it. It is plain text, so that an image can be read without a guest. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { sector = 512, slots = 100000, first_byte = 1024 * 1024, most_disks = 4 };

static int disks[most_disks];
static int disk_count;
static bool writing = true;
static char block[4096] __attribute__((aligned(4096)));

void disk_open(const char *path) {
  int disk = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
  if (disk < 0) printf("open %s: %s\n", path, strerror(errno));
  else if (disk_count < most_disks) disks[disk_count++] = disk;
}

void disk_set_writing(bool on) { writing = on; }

static off_t place_of(unsigned long counter) {
  return first_byte + (off_t)(counter % slots) * sector;
}

/* The errno of the first disk that failed, or 0. Every disk is tried. */
int disk_write_record(unsigned long counter, unsigned boot_id, const char *echo) {
  if (!writing) return 0;
  int error = 0;
  memset(block, 0, sector);
  snprintf(block, sector, "N %lu %08x %.40s", counter, boot_id, echo);
  for (int i = 0; i < disk_count; i++) {
    ssize_t written = pwrite(disks[i], block, sector, place_of(counter));
    if (written != sector && error == 0) error = written < 0 ? errno : EIO;
  }
  return error;
}

long disk_read_record(unsigned long counter, char *text, size_t size) {
  memset(block, 0, sector);
  long got = disk_count > 0 ? pread(disks[0], block, sector, place_of(counter)) : -1;
  snprintf(text, size, "%.60s", block);
  return got;
}
