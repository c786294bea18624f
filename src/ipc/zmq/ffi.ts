// libzmq's C API over bun:ffi, as thin as it gets: symbols, constants, and the few calls that need care with memory.
// Casts of pointers live here and nowhere else.

import { CString, dlopen, FFIType, type Pointer, toArrayBuffer } from 'bun:ffi'
import { assert } from '../../lib/assert.ts'
import { errorMessage } from '../../lib/errors.ts'
import { MessagingError } from '../errors.ts'
import { embeddedLibrary } from './embedded-library.ts'
import { libraryPath, temporaryDirectoryHint } from './library.ts'

const { ptr: P, i32, u64, i64, cstring } = FFIType

const symbols = {
  zmq_version: { args: [P, P, P], returns: FFIType.void },
  zmq_has: { args: [P], returns: i32 },
  zmq_errno: { args: [], returns: i32 },
  zmq_strerror: { args: [i32], returns: cstring },
  zmq_ctx_new: { args: [], returns: P },
  zmq_ctx_set: { args: [P, i32, i32], returns: i32 },
  zmq_ctx_term: { args: [P], returns: i32 },
  zmq_socket: { args: [P, i32], returns: P },
  zmq_close: { args: [P], returns: i32 },
  zmq_bind: { args: [P, P], returns: i32 },
  zmq_connect: { args: [P, P], returns: i32 },
  zmq_setsockopt: { args: [P, i32, P, u64], returns: i32 },
  zmq_getsockopt: { args: [P, i32, P, P], returns: i32 },
  zmq_send: { args: [P, P, u64, i32], returns: i32 },
  zmq_msg_init: { args: [P], returns: i32 },
  zmq_msg_recv: { args: [P, P, i32], returns: i32 },
  zmq_msg_data: { args: [P], returns: P },
  zmq_msg_more: { args: [P], returns: i32 },
  zmq_msg_gets: { args: [P, P], returns: P },
  zmq_msg_close: { args: [P], returns: i32 },
  zmq_socket_monitor: { args: [P, P, i32], returns: i32 },
} as const

const libcSymbols = {
  eventfd: { args: [FFIType.u32, i32], returns: i32 },
  write: { args: [i32, P, u64], returns: i64 },
  close: { args: [i32], returns: i32 },
} as const

export type SocketHandle = Pointer
export type ContextHandle = Pointer

export const socketType = { pair: 0, pub: 1, sub: 2, rep: 4, dealer: 5, router: 6 } as const

/** zmq.h's numbers of the options we use. */
export const option = {
  subscribe: 6,
  fd: 14,
  events: 15,
  linger: 17,
  reconnectIvl: 18,
  backlog: 19,
  reconnectIvlMax: 21,
  maxMsgSize: 22,
  sndHwm: 23,
  rcvHwm: 24,
  lastEndpoint: 32,
  routerMandatory: 33,
  immediate: 39,
  ipv6: 42,
  curveServer: 47,
  curvePublicKey: 48,
  curveSecretKey: 49,
  curveServerKey: 50,
  zapDomain: 55,
  handshakeIvl: 66,
  heartbeatIvl: 75,
  heartbeatTimeout: 77,
  zapEnforceDomain: 93,
} as const

export const contextOption = { ioThreads: 1, maxSockets: 2, blocky: 70 } as const

export const errno = { eagain: 11, eintr: 4, ehostunreach: 113 } as const
const sendFlag = { dontWait: 1, more: 2 } as const

export interface Library {
  readonly newContext: (options: { readonly socketsMax: number }) => ContextHandle
  readonly endContext: (context: ContextHandle) => void
  readonly openSocket: (context: ContextHandle, type: number) => SocketHandle
  readonly closeSocket: (socket: SocketHandle) => void
  readonly bind: (socket: SocketHandle, address: string) => string
  readonly connect: (socket: SocketHandle, address: string) => void
  readonly setInt: (socket: SocketHandle, name: number, value: number) => void
  readonly setInt64: (socket: SocketHandle, name: number, value: number) => void
  readonly setBytes: (socket: SocketHandle, name: number, value: Uint8Array) => void
  readonly getInt: (socket: SocketHandle, name: number) => number
  readonly monitor: (socket: SocketHandle, address: string, events: number) => void
  /** 0 when every frame was queued, else the errno; nothing was sent then. */
  readonly send: (socket: SocketHandle, frames: readonly Uint8Array[]) => number
  /** The next whole message, or null when there is none. `user` is the ZAP user id of a secured peer. */
  readonly receive: (socket: SocketHandle) => { readonly frames: Uint8Array[]; readonly user: string } | null
  readonly eventFd: () => number
  readonly signalEventFd: (fd: number) => void
  readonly closeFd: (fd: number) => void
}

let loaded: Library | null = null

/** Loads libzmq once per process and checks that it is the version and build we know. Throws MessagingError. */
export function loadLibrary(): Library {
  loaded ??= openLibrary()
  return loaded
}

/** Null-terminated, as C wants it. */
const cText = (text: string) => Buffer.from(`${text}\0`)

function openLibrary(): Library {
  const path = libraryPath()
  const { zmq, libc } = dlopenBoth(path)
  checkBuild(zmq, path)

  const fail = (what: string): never => {
    const code = zmq.zmq_errno()
    throw new MessagingError(`${what}: ${zmq.zmq_strerror(code)}`)
  }
  const check = (result: number, what: string) => {
    if (result < 0) fail(what)
  }
  // Reused by every call: libzmq is only ever called from this thread, and none of these calls nest. They are passed as
  // arrays and never as addresses: an address does not keep its array from the garbage collector.
  const int = new Int32Array(1)
  const long = new BigInt64Array(1)
  const size = new BigUint64Array(1)
  const message = new Uint8Array(64)
  const endpoint = new Uint8Array(512)
  const nothing = new Uint8Array(1)
  const one = new BigUint64Array([1n])
  const userIdName = cText('User-Id')

  const receive: Library['receive'] = (socket) => {
    const frames: Uint8Array[] = []
    let user = ''
    for (let more = true; more; ) {
      zmq.zmq_msg_init(message)
      const length = zmq.zmq_msg_recv(message, socket, sendFlag.dontWait)
      if (length < 0) {
        zmq.zmq_msg_close(message)
        // Parts of one message arrive together, so there is nothing to resume after a failure between them.
        return null
      }
      frames.push(length === 0 ? new Uint8Array(0) : copyOut(asPointer(zmq.zmq_msg_data(message)), length))
      more = zmq.zmq_msg_more(message) !== 0
      if (!more) {
        const id = asPointer(zmq.zmq_msg_gets(message, userIdName))
        if (id !== null) user = new CString(id).toString()
      }
      zmq.zmq_msg_close(message)
    }
    return { frames, user }
  }

  const send: Library['send'] = (socket, frames) => {
    for (let i = 0; i < frames.length; i++) {
      const frame = frames[i]!
      const flags = sendFlag.dontWait | (i + 1 < frames.length ? sendFlag.more : 0)
      while (zmq.zmq_send(socket, frame.length === 0 ? nothing : frame, frame.length, flags) < 0) {
        const code = zmq.zmq_errno()
        if (code === errno.eintr) continue
        // Once the first part is accepted libzmq accepts the rest of the message, whatever the high-water mark.
        assert(i === 0, 'a later part of a message was refused')
        return code
      }
    }
    return 0
  }

  return {
    newContext({ socketsMax }) {
      const context = asPointer(zmq.zmq_ctx_new())
      if (context === null) return fail('cannot make a libzmq context')
      check(zmq.zmq_ctx_set(context, contextOption.blocky, 0), 'cannot set ZMQ_BLOCKY')
      check(zmq.zmq_ctx_set(context, contextOption.maxSockets, socketsMax), 'cannot set ZMQ_MAX_SOCKETS')
      return context
    },
    endContext: (context) => void zmq.zmq_ctx_term(context),
    openSocket: (context, type) => asPointer(zmq.zmq_socket(context, type)) ?? fail('cannot make a socket'),
    closeSocket: (socket) => void zmq.zmq_close(socket),
    bind(socket, address) {
      check(zmq.zmq_bind(socket, cText(address)), `cannot bind ${address}`)
      size[0] = BigInt(endpoint.length)
      check(zmq.zmq_getsockopt(socket, option.lastEndpoint, endpoint, size), `cannot read the address of ${address}`)
      return Buffer.from(endpoint.subarray(0, Number(size[0]) - 1)).toString('utf8')
    },
    connect: (socket, address) => check(zmq.zmq_connect(socket, cText(address)), `cannot connect to ${address}`),
    setInt(socket, name, value) {
      int[0] = value
      check(zmq.zmq_setsockopt(socket, name, int, 4), `cannot set socket option ${name}`)
    },
    setInt64(socket, name, value) {
      long[0] = BigInt(value)
      check(zmq.zmq_setsockopt(socket, name, long, 8), `cannot set socket option ${name}`)
    },
    setBytes(socket, name, value) {
      const bytes = value.length === 0 ? nothing : value
      check(zmq.zmq_setsockopt(socket, name, bytes, value.length), `cannot set socket option ${name}`)
    },
    getInt(socket, name) {
      size[0] = 4n
      check(zmq.zmq_getsockopt(socket, name, int, size), `cannot read socket option ${name}`)
      return int[0]!
    },
    monitor: (socket, address, events) =>
      check(zmq.zmq_socket_monitor(socket, cText(address), events), 'cannot monitor a socket'),
    send,
    receive,
    eventFd() {
      const nonBlockingCloseOnExec = 0o4000 | 0o2000000
      const fd = libc.eventfd(0, nonBlockingCloseOnExec)
      if (fd < 0) throw new MessagingError('cannot make an eventfd: out of file descriptors?')
      return fd
    },
    signalEventFd: (fd) => void libc.write(fd, one, 8),
    closeFd: (fd) => void libc.close(fd),
  }
}

/** bun:ffi's types allow for a bigint; on 64-bit Linux addresses fit a number and null is null. */
function asPointer(address: Pointer | bigint | null): Pointer | null {
  return address as Pointer | null
}

/** Copies foreign memory that libzmq frees at the next call. */
function copyOut(address: Pointer | null, length: number): Uint8Array {
  assert(address !== null, 'a message with bytes has data')
  return new Uint8Array(toArrayBuffer(address, 0, length)).slice()
}

function dlopenBoth(path: string) {
  try {
    return { zmq: dlopen(path, symbols).symbols, libc: dlopen('libc.so.6', libcSymbols).symbols }
  } catch (error) {
    const hint = embeddedLibrary === null ? `is ${path} there?` : temporaryDirectoryHint
    throw new MessagingError(`cannot load libzmq (${errorMessage(error)}): ${hint}`, { cause: error })
  }
}

/** The version whose behaviour was tested; the addon is pinned, so another one means a broken installation. */
const expectedVersion = '4.3.5'

function checkBuild(zmq: ReturnType<typeof dlopenBoth>['zmq'], path: string): void {
  const numbers = [new Int32Array(1), new Int32Array(1), new Int32Array(1)] as const
  zmq.zmq_version(numbers[0], numbers[1], numbers[2])
  const version = numbers.map((number) => number[0]).join('.')
  if (version !== expectedVersion) throw new MessagingError(`${path} is libzmq ${version}, expected ${expectedVersion}`)
  if (zmq.zmq_has(cText('curve')) !== 1) throw new MessagingError(`${path} was built without CURVE`)
}
