import type { fleetOptions } from '../lib/config/fleet-options.ts'
import type { OptionValues } from '../lib/config/resolve.ts'
import type { Logger } from '../lib/obs/log.ts'

export type FleetOptions = OptionValues<typeof fleetOptions>

/** What every mode gets: checked options, a logger, and whether a parent process started it. */
export interface ModeInput {
  readonly options: FleetOptions
  readonly log: Logger
  readonly isChild: boolean
  /** Domain arguments of `serve`, for standalone. */
  readonly domains: readonly string[]
}
