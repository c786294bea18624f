// One grant for many requests that go straight to a tenant's worker, renewed when it has expired.

import type { GrantAction } from '../ipc/messages/grant.ts'
import type { ApiClient } from './client.ts'

export class Grants {
  readonly #client: ApiClient
  readonly reference: string
  readonly #action: GrantAction
  #current: Promise<string> | null = null

  constructor(client: ApiClient, reference: string, action: GrantAction) {
    this.#client = client
    this.reference = reference
    this.#action = action
  }

  get(): Promise<string> {
    this.#current ??= this.#client
      .request<{ grant: string }>('POST', `/api/cp/tenants/${encodeURIComponent(this.reference)}/grants`, {
        action: this.#action,
      })
      .then(({ grant }) => grant)
    return this.#current
  }

  renew(): void {
    this.#current = null
  }
}
