// `fetch` reads its limit of upstream requests before any of our code runs, so a gateway that was started without it
// becomes itself once more, in the same process.

import { selfCommand } from '../lib/self-command.ts'
import { gatewayEnvironment } from './config.ts'

const variable = 'BUN_CONFIG_MAX_HTTP_REQUESTS'

/**
 * Replaces this process by the same program with the limit set, keeping its id, arguments and open files. Does nothing
 * when the limit is set already. Call it before anything is read from standard input or opened.
 */
export function ensureGatewayEnvironment(): void {
  if (process.env[variable] !== undefined) return
  const [file, ...args] = selfCommand(process.argv.slice(2))
  process.execve?.(file!, [file!, ...args], { ...definedOnly(process.env), ...gatewayEnvironment })
}

function definedOnly(environment: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}
