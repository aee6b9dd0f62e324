/* Process 1 of a machine that has nothing else: mounts what the kernel offers, loads the
 * virtio modules, sets the addresses given on the kernel's command line, then serves.
 * It never ends, because the kernel panics when process 1 does. */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char command_line[4096];

const char *kernel_argument(const char *name, const char *fallback) {
  static char values[8][64];
  static unsigned next;
  size_t length = strlen(name);
  for (const char *at = command_line; (at = strstr(at, name)) != NULL; at += length) {
    bool starts_word = at == command_line || at[-1] == ' ';
    if (!starts_word || at[length] != '=') continue;
    char *value = values[next++ % 8];
    size_t size = strcspn(at + length + 1, " \n");
    if (size > 63) size = 63;
    memcpy(value, at + length + 1, size);
    value[size] = 0;
    return value;
  }
  return fallback;
}

static void mount_kernel_filesystems(void) {
  mkdir("/dev", 0755);
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mount("dev", "/dev", "devtmpfs", 0, NULL);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sys", "/sys", "sysfs", 0, NULL);
}

/* The image has no device files, so the kernel could not open a console for us. */
static void open_console(void) {
  int console = open("/dev/console", O_RDWR);
  if (console < 0) return;
  for (int fd = 0; fd < 3; fd++)
    if (console != fd) dup2(console, fd);
  if (console > 2) close(console);
  setvbuf(stdout, NULL, _IONBF, 0);
}

static void read_command_line(void) {
  int file = open("/proc/cmdline", O_RDONLY);
  if (file < 0) return;
  ssize_t size = read(file, command_line, sizeof command_line - 1);
  command_line[size > 0 ? size : 0] = 0;
  close(file);
}

/* The list is in dependency order; whoever made the image has resolved it. */
static void load_modules(void) {
  FILE *list = fopen("/modules.list", "r");
  if (!list) return;
  char path[256];
  while (fgets(path, sizeof path, list)) {
    path[strcspn(path, "\n")] = 0;
    int module = open(path, O_RDONLY | O_CLOEXEC);
    if (module < 0 || (syscall(SYS_finit_module, module, "", 0) < 0 && errno != EEXIST))
      printf("module %s: %s\n", path, strerror(errno));
    if (module >= 0) close(module);
  }
  fclose(list);
}

static bool appears(const char *path, int bound_ms) {
  long give_up_at = monotonic_ms() + bound_ms;
  while (access(path, F_OK) != 0) {
    if (monotonic_ms() > give_up_at) return false;
    poll(NULL, 0, 10);
  }
  return true;
}

static void set_address(const char *interface, const char *address, const char *mask) {
  int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {0};
  struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
  in->sin_family = AF_INET;
  bool ok = inet_pton(AF_INET, address, &in->sin_addr) == 1 && ioctl(s, SIOCSIFADDR, &request) == 0;
  ok = ok && inet_pton(AF_INET, mask, &in->sin_addr) == 1 && ioctl(s, SIOCSIFNETMASK, &request) == 0;
  ok = ok && ioctl(s, SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  if (!ok || ioctl(s, SIOCSIFFLAGS, &request) != 0)
    printf("address %s of %s: %s\n", address, interface, strerror(errno));
  close(s);
}

static unsigned random_boot_id(void) {
  unsigned id = 0;
  int source = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (source < 0 || read(source, &id, sizeof id) != sizeof id) printf("no random boot id\n");
  if (source >= 0) close(source);
  return id;
}

int main(void) {
  mount_kernel_filesystems();
  open_console();
  read_command_line();
  load_modules();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);

  const char *disk = kernel_argument("gdisk", "/dev/vda");
  if (!appears(disk, 5000)) printf("no disk %s\n", disk);
  if (!appears("/sys/class/net/eth0", 5000)) printf("no eth0\n");
  set_address("lo", "127.0.0.1", "255.0.0.0");
  set_address("eth0", kernel_argument("gip", "10.76.0.2"), "255.255.255.0");
  /* `two=1` says that a second disk and a second card belong to this machine: wait for them. */
  int second_bound_ms = strcmp(kernel_argument("two", "0"), "1") == 0 ? 5000 : 0;
  if (appears("/sys/class/net/eth1", second_bound_ms))
    set_address("eth1", kernel_argument("gip1", "10.76.1.2"), "255.255.255.0");

  disk_open(disk);
  if (appears("/dev/vdb", second_bound_ms)) disk_open("/dev/vdb");
  serve(random_boot_id());
}
