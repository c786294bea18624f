// What a child process inherits.

import { fleetOptions } from './fleet-options.ts'

/** Without our own options: a child is told everything on its standard input, and an environment is read by many. */
export function childEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string | undefined> {
  const environment: Record<string, string | undefined> = { ...process.env, ...extra }
  for (const spec of Object.values(fleetOptions)) {
    delete environment[spec.env]
    delete environment[`${spec.env}_FILE`]
  }
  delete environment['CONFIG_FILE']
  return environment
}
