// Which QEMU options an operator may add to a VM, by refusing those that break COLO, hide state from replication, or fight the agent over
// something that it owns. Anything that is not named here is passed to QEMU as it is, on both sides.

interface ArgsProblem {
  readonly path: readonly (string | number)[];
  readonly problem: string;
}

interface Refusal {
  readonly options: readonly string[];
  readonly why: string;
  readonly instead: string;
}

/** Options refused whatever their value. */
const OPTIONS: readonly Refusal[] = [
  {
    options: ['netdev', 'net', 'nic'],
    why: 'a card outside `nics` has no filters, so what it sends would leave unprotected',
    instead: 'add it to `nics`',
  },
  {
    options: ['drive', 'blockdev', 'hda', 'hdb', 'hdc', 'hdd', 'cdrom', 'sd', 'fda', 'fdb', 'mtdblock', 'pflash', 'snapshot'],
    why: 'a disk outside `disks` is not replicated',
    instead: 'add it to `disks`',
  },
  {
    options: ['virtfs', 'fsdev'],
    why: 'a folder shared with the host is a disk that is not replicated',
    instead: 'put the data onto a disk in `disks`',
  },
  { options: ['incoming', 'loadvm'], why: 'the agent decides what a QEMU starts from', instead: 'remove it' },
  {
    options: ['qmp', 'qmp-pretty', 'monitor', 'mon'],
    why: 'a second hand on the monitor could undo a step of a failover',
    instead: 'remove it; the agent has its own monitors',
  },
  { options: ['s', 'S', 'gdb'], why: 'a guest that somebody stops looks like a hung side', instead: 'remove it' },
  {
    options: ['daemonize', 'pidfile', 'runas', 'run-with', 'chroot'],
    why: 'the agent watches the process that it started itself',
    instead: 'remove it',
  },
  {
    options: ['no-shutdown', 'no-reboot', 'action', 'watchdog-action'],
    why: "the agent tells a guest's power-off from a crash by them",
    instead: 'use `onPoweroff` and `restart`',
  },
  {
    options: ['nographic'],
    why: 'it puts a monitor onto standard input',
    instead: 'remove it; there is no display unless you add one',
  },
  { options: ['name'], why: 'the agent finds its QEMUs by their names', instead: 'use `name`' },
  { options: ['m', 'mem-path', 'mem-prealloc'], why: 'memory must be the same on both sides', instead: 'use `memory`' },
  { options: ['smp'], why: 'processors must be the same on both sides', instead: 'use `cpus`' },
  { options: ['machine', 'M'], why: 'the machine must be the same on both sides', instead: 'use `machine`' },
  { options: ['cpu'], why: 'the processor must be the same on both sides', instead: 'use `cpuModel`' },
  { options: ['accel', 'enable-kvm', 'no-kvm'], why: 'both sides must run alike', instead: 'use `accel`' },
  { options: ['kernel', 'initrd', 'append'], why: 'the agent sets them', instead: 'use `boot`' },
  {
    options: ['readconfig', 'set', 'preconfig'],
    why: 'it changes devices behind the back of these checks',
    instead: 'give the options themselves',
  },
  { options: ['icount', 'replay'], why: 'a guest with a counted clock cannot run in lock-step with another', instead: 'remove it' },
  {
    options: ['usbdevice'],
    why: 'a device of one host cannot follow the guest to another',
    instead: 'use `-device` with an emulated USB device',
  },
];

interface ValueRefusal {
  readonly options: readonly string[];
  readonly pattern: RegExp;
  readonly why: string;
  readonly instead: string;
}

/** Values refused where they stand after one of these options. */
const VALUES: readonly ValueRefusal[] = [
  {
    options: ['device', 'object', 'global', 'chardev'],
    pattern: /vhost|vdpa/i,
    why: 'with vhost the packets pass by QEMU, so that COLO can neither compare nor withhold them',
    instead: 'leave vhost out',
  },
  {
    options: ['device', 'global'],
    pattern: /(^|[,.])(mq=(on|true|yes)|queues=|num-queues=(?!1(,|$)))|property=(mq|num-queues)(,|$)/,
    why: 'COLO compares a card with one queue only',
    instead: 'leave multiqueue out',
  },
  {
    options: ['device'],
    pattern: /^(driver=)?(vfio|pci-assign|usb-host|usb-redir|scsi-block|scsi-generic|ccid-card-passthru|ivshmem)/i,
    why: 'a device of the host, or memory shared with it, cannot follow the guest to another host',
    instead: 'use an emulated device',
  },
  {
    options: ['device'],
    pattern:
      /^(driver=)?(virtio-net|e1000|rtl8139|ne2k|pcnet|vmxnet3|i82|tulip|igb|usb-net|virtio-blk|scsi-hd|scsi-cd|ide-hd|ide-cd|nvme|usb-storage|nvdimm|virtio-9p|virtio-pmem|floppy|sd-card)/i,
    why: 'a card outside `nics` or a disk outside `disks` is not protected',
    instead: 'add it to `nics` or `disks`',
  },
  {
    options: ['tpmdev'],
    pattern: /^passthrough/,
    why: 'a device of one host cannot follow the guest to another',
    instead: 'use an emulator',
  },
  {
    options: ['object'],
    pattern: /^(qom-type=)?(filter-|colo-compare)/,
    why: "the filters are COLO's own and the agent puts them in, in the order that safety needs",
    instead: 'remove it',
  },
  {
    options: ['object'],
    pattern: /^(qom-type=)?memory-backend-(file|memfd).*share=(on|true|yes)/,
    why: "memory shared with another process changes behind QEMU's back and is not replicated",
    instead: 'leave `share` out',
  },
  {
    options: ['serial', 'parallel', 'chardev', 'debugcon'],
    pattern: /mon:|stdio/,
    why: 'the agent starts QEMU without a terminal',
    instead: 'use a file: `-serial file:PATH`',
  },
  {
    options: ['chardev', 'object'],
    pattern: /(^|,)id=(mirror|compare|red|cout)\d/,
    why: 'ids like this are those of the filters',
    instead: 'choose another id',
  },
];

/** Every refused option, by its index in `extraArgs`. An unknown option passes: QEMU itself says what it thinks of it. */
export function extraArgsProblems(args: readonly string[]): readonly ArgsProblem[] {
  const problems: ArgsProblem[] = [];
  let option: string | null = null;
  for (const [index, arg] of args.entries()) {
    const at = (problem: string) => problems.push({ path: ['extraArgs', index], problem });
    if (arg === '' || arg.includes('\u0000')) {
      at('is empty or holds a zero byte');
    } else if (/^-[^\s]/.test(arg)) {
      option = arg.replace(/^--?/, '');
      const refusal = OPTIONS.find((each) => option !== null && each.options.includes(option));
      if (refusal !== undefined) at(`${arg} is refused: ${refusal.why}; ${refusal.instead}`);
      if (/\s/.test(arg)) at(`"${arg}" holds a blank: an option and its value are two entries of the list`);
    } else if (option === null) {
      at(`"${arg}" is no option: QEMU would take it for a disk image; add it to \`disks\``);
    } else {
      const seen: string = option;
      const refusal = VALUES.find((each) => each.options.includes(seen) && each.pattern.test(arg));
      if (refusal !== undefined) at(`-${seen} ${arg} is refused: ${refusal.why}; ${refusal.instead}`);
      // One option has one value: a further word would be taken for a disk image.
      option = null;
    }
  }
  return problems;
}
