#!/bin/sh
# An example for `launch: external`: starts a secondary by hand, as step 2 of QEMU's COLO manual does, for a VM with one disk and one NIC.
# The agent runs it (`external.startSecondary` in the VM file) on the host that is to have the secondary, and waits for its end; QEMU goes on.
#
#   start-secondary.sh IMAGE TAP MAC FOLDER QEMU-OPTIONS...
#
# IMAGE is this host's copy of the disk (raw); TAP exists already; FOLDER gets the overlays and the QMP sockets `qmp0.sock` and `qmp1.sock`,
# which the VM file names. QEMU-OPTIONS are those that both sides share: machine, accelerator, memory, processors.
#
# The agent tells the rest, because each attempt has ports of its own: COLO_VM, COLO_EPOCH, COLO_ADDRESS (this host on the replication network),
# COLO_PRIMARY_ADDRESS, COLO_MIGRATION_PORT, COLO_MIRROR_PORTS and COLO_COMPARE_PORTS (one a NIC).
set -eu
image=$1 tap=$2 mac=$3 folder=$4
shift 4

: "${QEMU:=qemu-system-x86_64}" "${QEMU_IMG:=qemu-img}"
size=$(stat -c %s "$image")
for overlay in active hidden; do
  "$QEMU_IMG" create -q -f qcow2 "$folder/$overlay.qcow2" "$size"
done
rm -f "$folder/qmp0.sock" "$folder/qmp1.sock"

# Its own session and no open pipe of ours: the agent waits for both to end.
setsid "$QEMU" -name "guest=$COLO_VM,debug-threads=on" -nodefaults -no-user-config -display none -no-shutdown "$@" \
  -qmp "unix:$folder/qmp0.sock,server=on,wait=off" -qmp "unix:$folder/qmp1.sock,server=on,wait=off" \
  -netdev "tap,id=hn0,ifname=$tap,script=no,downscript=no,vhost=off" -device "virtio-net-pci,id=e0,netdev=hn0,mac=$mac" \
  -chardev "socket,id=red0,host=$COLO_PRIMARY_ADDRESS,port=$COLO_MIRROR_PORTS,reconnect-ms=100" \
  -chardev "socket,id=red1,host=$COLO_PRIMARY_ADDRESS,port=$COLO_COMPARE_PORTS,reconnect-ms=100" \
  -object filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0,vnet_hdr_support=on \
  -object filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1,vnet_hdr_support=on \
  -object filter-rewriter,id=rew0,netdev=hn0,queue=all,vnet_hdr_support=on \
  -drive "if=none,id=parent0,file.filename=$image,driver=raw" \
  -drive "if=none,id=childs0,driver=replication,mode=secondary,file.driver=qcow2,top-id=colo-disk0,file.file.filename=$folder/active.qcow2,file.backing.driver=qcow2,file.backing.file.filename=$folder/hidden.qcow2,file.backing.backing=parent0" \
  -drive if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0=childs0 \
  -incoming "tcp:$COLO_ADDRESS:$COLO_MIGRATION_PORT" </dev/null >>"$folder/qemu.log" 2>&1 &
