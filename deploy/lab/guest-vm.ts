// The VM file of the lab's tiny guest, as `coloctl vm define -f` takes it. 96 MiB and one disk of 64 MiB keep copies below a second on a
// machine without KVM.

import { stringify } from 'yaml';
import { guestAddress, guestMac, type LabPlan } from './plan.js';
import { machineType, type GuestImage, type QemuVersion } from './tree.js';

export interface GuestVmOptions {
  readonly name: string;
  /** Which guest of the lab this is: decides its address and its MAC. */
  readonly number: number;
  readonly image: GuestImage;
  readonly qemu: QemuVersion;
  /** Further keys of the VM file, or other values for these. */
  readonly keys?: Readonly<Record<string, unknown>>;
}

/** Without a clock from outside the guest's kernel would spend seconds on calibrating its own under TCG. */
const KERNEL_ARGUMENTS = 'console=ttyS0 quiet loglevel=3 mitigations=off nokaslr no_timer_check random.trust_cpu=on tsc=reliable panic=-1';

export function guestVmFile(plan: LabPlan, options: GuestVmOptions): string {
  return stringify({
    name: options.name,
    memory: '96M',
    machine: machineType(options.qemu),
    accel: 'tcg',
    disks: [{ size: '64M' }],
    nics: [{ mac: guestMac(options.number) }],
    // The tiny guest does not listen to a power button.
    shutdownGraceMs: 0,
    boot: {
      kernel: options.image.kernel,
      initrd: options.image.initrd,
      append: `${KERNEL_ARGUMENTS} gip=${guestAddress(plan, options.number)}`,
    },
    ...options.keys,
  });
}
