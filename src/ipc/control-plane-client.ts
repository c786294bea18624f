// One client for the whole control plane: it finds the members over HTTP, keeps a connection to one of them and moves on
// to another when that one is gone. Followers forward to the leader, so any member will do. Nodes and gateways use it.

import { type Clock, sleep } from '../lib/clock.ts'
import { TimeoutError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { backoffMs } from '../lib/retry.ts'
import type { Rng } from '../lib/rng.ts'
import { openRpcClient, type RequestOptions, type RpcClient } from './client.ts'
import type { Conversation, ReplyTo, TypedMessage } from './conversation.ts'
import { PeerUnreachableError, RemoteError } from './errors.ts'
import type { ClusterSecrets } from './keys.ts'
import type { Broadcast, BroadcastTopic } from './messages/cp-gateway.ts'
import {
  type Directory,
  type DirectoryMember,
  directoryPath,
  parseDirectory,
  peerHeaderName,
  signPeerHeader,
} from './messages/directory.ts'
import { openSubscriber, type ResyncReason, type Subscriber } from './pubsub.ts'
import type { Messaging } from './zmq/messaging.ts'

export interface ControlPlaneClient<Message extends TypedMessage, Replies> {
  /**
   * Like `RpcClient.request`, against whichever member answers. A request that surely was not delivered goes to the next
   * member within the same deadline; `idempotent: true` allows that also when delivery is unknown or the member is slow.
   */
  request<T extends Message['type'] & keyof Replies & string>(
    message: Extract<Message, { readonly type: T }>,
    options: RequestOptions & { readonly idempotent?: boolean },
  ): Promise<ReplyTo<Replies, T>>
  /** Members as last heard; empty before the first answer. */
  readonly members: readonly DirectoryMember[]
  /** True while connected to at least one member. */
  readonly isConnected: boolean
  close(): void
}

export interface ControlPlaneClientOptions<Message extends TypedMessage, Replies> {
  readonly messaging: Messaging
  readonly conversation: Conversation<Message, Replies>
  readonly secrets: ClusterSecrets
  /** HTTP addresses of members, `host:port` or `http://host:port`; at least one. */
  readonly addresses: readonly string[]
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  /** Broadcasts of all members; heard once per member, so handlers must not mind repetition. */
  readonly broadcasts?: {
    readonly topics: readonly BroadcastTopic[]
    readonly onMessage: (message: Broadcast) => void
    readonly onResync: (reason: ResyncReason) => void
  }
  /** For tests; the global `fetch` otherwise. */
  readonly fetch?: typeof fetch
}

/** How often the members are asked for again: membership changes are rare, and a failure asks at once. */
const refreshMs = 30_000
/** Pause after a round in which no member answered; grows to the maximum. */
const retryPolicy = { attemptsMax: Number.MAX_SAFE_INTEGER, baseDelayMs: 100, delayMsMax: 2_000 }
/** One HTTP question for the directory. */
const directoryTimeoutMs = 3_000
const directoryBytesMax = 64 * 1024
/** A member that has not answered an idempotent request for this long gets a competitor. */
const patienceMs = 1_000

/** Starts looking for members in the background; requests wait for the first one. */
export function openControlPlaneClient<Message extends TypedMessage, Replies>(
  options: ControlPlaneClientOptions<Message, Replies>,
): ControlPlaneClient<Message, Replies> {
  return new FleetClient(options)
}

interface Member<Message extends TypedMessage, Replies> {
  readonly facts: DirectoryMember
  readonly client: RpcClient<Message, Replies>
  readonly subscriber: Subscriber | null
}

class FleetClient<Message extends TypedMessage, Replies> implements ControlPlaneClient<Message, Replies> {
  readonly #options: ControlPlaneClientOptions<Message, Replies>
  readonly #closing = new AbortController()
  /** By the addresses, so that a member that moved is connected to anew. */
  readonly #members = new Map<string, Member<Message, Replies>>()
  /** Resolved whenever the members changed. */
  #changed = Promise.withResolvers<void>()
  #hurry: () => void = () => {}

  constructor(options: ControlPlaneClientOptions<Message, Replies>) {
    this.#options = options
    void this.#lookForMembers()
  }

  get members(): readonly DirectoryMember[] {
    return [...this.#members.values()].map((member) => member.facts)
  }

  get isConnected(): boolean {
    return [...this.#members.values()].some((member) => member.client.isConnected)
  }

  async request<T extends Message['type'] & keyof Replies & string>(
    message: Extract<Message, { readonly type: T }>,
    { deadlineMs, signal, idempotent = false }: RequestOptions & { readonly idempotent?: boolean },
  ): Promise<ReplyTo<Replies, T>> {
    const { clock } = this.#options
    const endsAtMs = clock.monotonic() + deadlineMs
    let lastError: unknown = new PeerUnreachableError('no member of the control plane is known', 'no')
    for (let attempt = 0; ; attempt++) {
      const leftMs = endsAtMs - clock.monotonic()
      if (leftMs < 1) throw lastError
      const member = this.#choose(attempt)
      if (member === null) {
        await this.#waitForChange(leftMs, signal)
        continue
      }
      try {
        const attemptMs = this.#members.size > 1 ? Math.min(leftMs, patienceMs) : leftMs
        return await member.client.request(message, { deadlineMs: attemptMs, ...(signal && { signal }) })
      } catch (error) {
        if (signal?.aborted || !isWorthAnother(error, idempotent)) throw error
        lastError = error
        this.#hurry() // this member may be gone for good
        if (this.#members.size <= 1) await sleep(clock, Math.min(leftMs, 50), this.#closing.signal)
      }
    }
  }

  close(): void {
    this.#closing.abort(new PeerUnreachableError('the client is closed', 'no'))
    for (const member of this.#members.values()) closeMember(member)
    this.#members.clear()
    this.#changed.resolve()
  }

  /** Connected members first, the leader before followers; later attempts go around. */
  #choose(attempt: number): Member<Message, Replies> | null {
    const rank = (member: Member<Message, Replies>) =>
      (member.client.isConnected ? 0 : 2) + (member.facts.isLeader ? 0 : 1)
    const ordered = [...this.#members.values()].sort((a, b) => rank(a) - rank(b))
    return ordered[attempt % Math.max(1, ordered.length)] ?? null
  }

  async #waitForChange(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    this.#hurry()
    const gone = new AbortController()
    const any = AbortSignal.any([gone.signal, this.#closing.signal, ...(signal ? [signal] : [])])
    try {
      await Promise.race([this.#changed.promise, sleep(this.#options.clock, timeoutMs, any)])
    } finally {
      gone.abort()
    }
    this.#closing.signal.throwIfAborted()
  }

  async #lookForMembers(): Promise<void> {
    const { clock, rng, log } = this.#options
    const { signal } = this.#closing
    let failures = 0
    while (!signal.aborted) {
      const directory = await this.#askAll()
      if (signal.aborted) return
      if (directory === null) {
        if (failures++ === 0) log.warn('no control plane member answered', { addresses: this.#options.addresses })
      } else {
        if (failures > 0) log.info('control plane found', { members: directory.members.length })
        failures = 0
        this.#adopt(directory)
      }
      const pauseMs = failures === 0 ? refreshMs : 20 + backoffMs(retryPolicy, failures, rng)
      await this.#pause(pauseMs, clock)
    }
  }

  /** Sleeps, but not through a request that finds its member gone; a failed round always costs its pause. */
  async #pause(pauseMs: number, clock: Clock): Promise<void> {
    const hurried = Promise.withResolvers<void>()
    this.#hurry = hurried.resolve
    const gone = new AbortController()
    const sleeping = sleep(clock, pauseMs, AbortSignal.any([gone.signal, this.#closing.signal])).catch(() => {})
    await (pauseMs === refreshMs ? Promise.race([sleeping, hurried.promise]) : sleeping)
    gone.abort()
  }

  /** The first good answer; asks the addresses we were given and those we heard of, in turn. */
  async #askAll(): Promise<Directory | null> {
    const given = this.#options.addresses.map((address) => (address.includes('://') ? address : `http://${address}`))
    const heard = this.members.map((member) => member.httpUrl)
    for (const url of new Set([...given, ...heard])) {
      const directory = await this.#ask(url)
      if (directory !== null && directory.members.length > 0) return directory
      if (this.#closing.signal.aborted) return null
    }
    return null
  }

  async #ask(url: string): Promise<Directory | null> {
    const { clock, log, messaging, secrets } = this.#options
    const ask = this.#options.fetch ?? fetch
    const timeout = new AbortController()
    const cancel = clock.setTimer(directoryTimeoutMs, () => timeout.abort(new TimeoutError('the member was silent')))
    try {
      const response = await ask(`${url}${directoryPath}`, {
        headers: { [peerHeaderName]: signPeerHeader(secrets, messaging.role, clock.now()) },
        redirect: 'manual',
        signal: AbortSignal.any([timeout.signal, this.#closing.signal]),
      })
      const text = await response.text()
      if (response.status === 401 || response.status === 403)
        log.error('control plane refused our cluster secret', { url, status: response.status })
      if (response.status !== 200 || text.length > directoryBytesMax) return null
      return parseDirectory(JSON.parse(text))
    } catch (error) {
      log.debug('control plane member did not answer', { url, error })
      return null // the caller goes on to the next address and reports when none answers
    } finally {
      cancel()
    }
  }

  #adopt(directory: Directory): void {
    const keyOf = (facts: DirectoryMember) => `${facts.id} ${facts.ipcAddress} ${facts.pubAddress}`
    const wanted = new Map(directory.members.map((facts) => [keyOf(facts), facts]))
    for (const [key, member] of this.#members) {
      if (wanted.has(key)) continue
      closeMember(member)
      this.#members.delete(key)
    }
    for (const [key, facts] of wanted) {
      const known = this.#members.get(key)
      this.#members.set(key, known ? { ...known, facts } : this.#connect(facts))
    }
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  #connect(facts: DirectoryMember): Member<Message, Replies> {
    const { messaging, conversation, clock, log, broadcasts } = this.#options
    const common = { messaging, serverRole: 'control-plane', clock, log } as const
    const client = openRpcClient({ ...common, conversation, connect: facts.ipcAddress })
    const subscriber = broadcasts
      ? openSubscriber<Broadcast, BroadcastTopic>({
          ...common,
          connect: facts.pubAddress,
          topics: broadcasts.topics,
          onMessage: (_topic, message) => broadcasts.onMessage(message),
          onResync: broadcasts.onResync,
        })
      : null
    return { facts, client, subscriber }
  }
}

function closeMember(member: { readonly client: { close(): void }; readonly subscriber: Subscriber | null }): void {
  member.client.close()
  member.subscriber?.close()
}

/** Another member may do better, and repeating the request does no harm. */
function isWorthAnother(error: unknown, idempotent: boolean): boolean {
  if (error instanceof PeerUnreachableError) return error.delivered === 'no' || idempotent
  if (error instanceof TimeoutError) return idempotent
  // A follower that lost its leader, or a member that is starting, took no decision.
  return error instanceof RemoteError && (error.code === 'no_leader' || error.code === 'overloaded')
}
