// Cluster admins: who may run the fleet.

import type { Clock } from '../../lib/clock.ts'
import { randomText, recordId } from '../../lib/id.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { Rng } from '../../lib/rng.ts'
import { type Admin, hashToken, tokenMatches, tokenPrefixOf } from '../state/admins.ts'
import type { RejectReason } from '../state/command.ts'
import type { StateReader } from '../state/state.ts'
import type { Actor, AuditLog } from './audit.ts'
import type { Propose } from './proposer.ts'

export interface AdminServiceDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly audit: AuditLog
  readonly clock: Clock
  readonly rng: Rng
}

/** 62^32 are 190 bits. */
const tokenLength = 32
/** A prefix of 8 characters is taken once in 2·10^14; a second collision in a row is no accident. */
const attemptsMax = 3

export class AdminService {
  readonly #deps: AdminServiceDeps

  constructor(deps: AdminServiceDeps) {
    this.#deps = deps
  }

  /** The admin whose token this is; takes as long for a wrong token as for a missing one. */
  authenticate(token: string): Admin | null {
    const prefix = tokenPrefixOf(token)
    const admin = prefix === null ? undefined : this.#deps.state.admins.byTokenPrefix(prefix)
    return tokenMatches(token, admin) && admin !== undefined ? admin : null
  }

  list(): Admin[] {
    return [...this.#deps.state.admins.all()].sort((a, b) => a.createdAtMs - b.createdAtMs)
  }

  /** Makes an admin; the token is in no other place afterwards. */
  async create(
    input: { readonly email: string; readonly name: string; readonly permissions?: readonly string[] },
    by: Actor,
    options: { readonly onlyFirst?: boolean } = {},
  ): Promise<Result<{ readonly admin: Admin; readonly token: string }, RejectReason>> {
    const { rng, clock, propose, audit } = this.#deps
    for (let attempt = 1; ; attempt++) {
      const token = `admin_${randomText(rng, tokenLength)}`
      const admin: Admin = {
        id: recordId(rng),
        name: input.name,
        email: input.email,
        tokenPrefix: tokenPrefixOf(token)!,
        tokenHash: hashToken(token),
        permissions: input.permissions ?? ['*'],
        createdAtMs: clock.now(),
      }
      const record = { action: 'admin.create', target: admin.id, targetName: admin.email }
      const outcome = await propose(
        { type: 'admin.create', admin, onlyFirst: options.onlyFirst ?? false },
        audit.facts(by, record),
      )
      if (outcome.ok) return ok({ admin, token })
      if (outcome.error !== 'token_prefix_taken' || attempt >= attemptsMax) return err(outcome.error)
    }
  }

  async delete(id: string, by: Actor): Promise<Result<null, RejectReason | 'own_account'>> {
    if (id === by.id) return err('own_account')
    const { state, propose, audit } = this.#deps
    const record = { action: 'admin.delete', target: id, targetName: state.admins.get(id)?.email ?? '' }
    return await propose({ type: 'admin.delete', id }, audit.facts(by, record))
  }
}
