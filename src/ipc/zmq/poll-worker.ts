// A thread that does nothing but wait in poll(2) for the descriptors of libzmq's sockets, and wakes the main thread. It
// owns no socket: libzmq's sockets belong to the main thread, which drains them. Protocol: see poller.ts.

import { dlopen, FFIType } from 'bun:ffi'
import { firstReadySlot, pollSlots } from './poll-slots.ts'

declare const self: Worker

const { symbols: libc } = dlopen('libc.so.6', {
  poll: { args: [FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i32 },
  read: { args: [FFIType.i32, FFIType.ptr, FFIType.u64], returns: FFIType.i64 },
})

/** struct pollfd: int fd, short events, short revents. */
const pollFdBytes = 8
const pollIn = 1
const waitForever = -1
/** If the main thread is stopped (a debugger, SIGSTOP) look again now and then instead of sleeping for ever. */
const ackWaitMs = 1_000

self.onmessage = (event: MessageEvent<{ shared: SharedArrayBuffer; wakeFd: number; fdsMax: number }>) => {
  const { shared, wakeFd, fdsMax } = event.data
  const slots = new Int32Array(shared)
  const fds = Buffer.alloc(pollFdBytes * (fdsMax + 1))
  const counter = Buffer.alloc(8)
  const put = (index: number, fd: number) => {
    fds.writeInt32LE(fd, pollFdBytes * index)
    fds.writeInt16LE(pollIn, pollFdBytes * index + 4)
    fds.writeInt16LE(0, pollFdBytes * index + 6)
  }
  for (;;) {
    const count = Atomics.load(slots, pollSlots.count)
    put(0, wakeFd)
    for (let i = 0; i < count; i++) put(i + 1, Atomics.load(slots, pollSlots.firstFd + i))
    libc.poll(fds, count + 1, waitForever)
    if (fds.readInt16LE(6) & pollIn) libc.read(wakeFd, counter, counter.length)
    if (Atomics.load(slots, pollSlots.stop) !== 0) {
      self.postMessage('stopped')
      return
    }
    let ready = 0
    for (let i = 1; i <= count; i++) {
      if (fds.readInt16LE(pollFdBytes * i + 6) === 0) continue
      Atomics.store(slots, firstReadySlot(fdsMax) + ready++, fds.readInt32LE(pollFdBytes * i))
    }
    Atomics.store(slots, pollSlots.readyCount, ready)
    // The descriptors stay readable until the main thread has drained, so wait for it instead of spinning.
    const acked = Atomics.load(slots, pollSlots.acks)
    Atomics.add(slots, pollSlots.events, 1)
    Atomics.notify(slots, pollSlots.events)
    Atomics.wait(slots, pollSlots.acks, acked, ackWaitMs)
  }
}
