// What clients were told, kept outside the fleet: the only judge of what may be lost.

/** One acknowledged write. */
export interface Acknowledged {
  readonly tenant: string
  readonly id: string
  readonly value: string
  /** performance.now() when the answer arrived. */
  readonly atMs: number
}

export class Journal {
  readonly #writes: Acknowledged[] = []
  /** Sent, but no answer: may be there or not. */
  unknown = 0
  /** Refused by the fleet (4xx, 5xx): must do no harm. */
  refused = 0

  add(write: Acknowledged): void {
    this.#writes.push(write)
  }

  get size(): number {
    return this.#writes.length
  }

  of(tenant: string): readonly Acknowledged[] {
    return this.#writes.filter((write) => write.tenant === tenant)
  }

  /** Forgets writes that were allowed to be lost, so that later rounds do not ask for them again. */
  forget(ids: ReadonlySet<string>): void {
    for (let i = this.#writes.length - 1; i >= 0; i--) if (ids.has(this.#writes[i]!.id)) this.#writes.splice(i, 1)
  }
}

/** Writers that go on, whatever the fleet does, until stopped. */
export class Writers {
  #stopped = false
  readonly #loops: Promise<void>[] = []

  constructor(options: {
    readonly journal: Journal
    readonly tenants: readonly string[]
    readonly perTenant: number
    readonly urlOf: (tenant: string) => string
    readonly tokenOf: (tenant: string) => string
    readonly headers?: Readonly<Record<string, string>>
  }) {
    for (const tenant of options.tenants)
      for (let i = 0; i < options.perTenant; i++) this.#loops.push(this.#write(options, tenant, i))
  }

  async #write(
    options: {
      readonly journal: Journal
      readonly urlOf: (tenant: string) => string
      readonly tokenOf: (tenant: string) => string
      readonly headers?: Readonly<Record<string, string>>
    },
    tenant: string,
    writer: number,
  ): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const value = `writer ${writer}, write ${n}, ${crypto.randomUUID()}`
      try {
        const response = await fetch(`${options.urlOf(tenant)}/api/collections/journal/records`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: options.tokenOf(tenant), ...options.headers },
          body: JSON.stringify({ value }),
          signal: AbortSignal.timeout(10_000),
        })
        const text = await response.text()
        if (response.status === 200) {
          const { id } = JSON.parse(text) as { id: string }
          options.journal.add({ tenant, id, value, atMs: performance.now() })
        } else {
          options.journal.refused++
          await Bun.sleep(20)
        }
      } catch {
        options.journal.unknown++ // killed in between: the outcome is unknown, and that is what the test is about
        await Bun.sleep(20)
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#loops)
  }
}
