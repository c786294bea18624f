// How services decide: encode, propose, and bound the wait.

import type { Clock } from '../../lib/clock.ts'
import { TimeoutError } from '../../lib/errors.ts'
import type { Outcome } from '../state/apply.ts'
import { type AuditFacts, boundedFacts } from '../state/audit.ts'
import { type Command, commands } from '../state/command.ts'

/** @param audit the record of a decision that somebody took; without it the decision leaves none. */
export type Propose = (command: Command, audit?: AuditFacts | null) => Promise<Outcome>

/** A commit is one fsync here; longer means that the disk or the quorum is in trouble. */
const proposeTimeoutMs = 10_000

/** @param decide resolves with the outcome of the applied command. */
export function proposer(decide: (data: Uint8Array) => Promise<Outcome | null>, clock: Clock): Propose {
  return async (command, audit = null) => {
    const recorded: Command =
      audit === null ? command : { type: 'audited', audit: boundedFacts(audit), command: commands.encode(command) }
    const late = Promise.withResolvers<never>()
    const cancel = clock.setTimer(proposeTimeoutMs, () =>
      late.reject(new TimeoutError(`${command.type} was not decided within ${proposeTimeoutMs} ms`)),
    )
    try {
      const outcome = await Promise.race([decide(commands.encode(recorded)), late.promise])
      return outcome!
    } finally {
      cancel()
    }
  }
}
