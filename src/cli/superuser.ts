// `superuser upsert|create|update|delete|otp|ips`: who may administer one tenant, on a standalone directory or, with
// `--tenant`, of a fleet.

import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { grantScheme, platformSuperusersPath } from '../ipc/messages/grant.ts'
import { systemClock } from '../lib/clock.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import { createLogger } from '../lib/obs/log.ts'
import { systemRng } from '../lib/rng.ts'
import type { SuperuserOtp } from '../node/engine/auth/superusers.ts'
import type { Engine } from '../node/engine/engine.ts'
import { CliError } from './cli-error.ts'
import { addClientFlags, clientOf, failure, secretOption } from './client.ts'
import { encryptionKey } from './encryption-key.ts'
import { exitFailed, exitNotFound, exitUnreachable } from './exit-codes.ts'
import { Grants } from './grants.ts'
import { print } from './output.ts'

/** One change of a tenant of a fleet, which may have to be opened first, ms. */
const requestTimeoutMs = 60_000

interface SuperuserFlags {
  readonly dir?: string
  readonly encryptionEnv?: string
  readonly tenant?: string
  readonly passwordFile?: string
  readonly json?: true
}

/**
 * Opens the directory beside a server that may be running: SQLite keeps the two apart. A new directory is made, as
 * PocketBase does, so that the first superuser can be there before the first start.
 */
async function withEngine<T>(flags: SuperuserFlags, work: (engine: Engine) => Promise<T>): Promise<T> {
  const path = resolve(flags.dir ?? './pb_data')
  try {
    mkdirSync(path, { recursive: true })
  } catch (error) {
    throw new ConfigError(`--dir: cannot use ${path}: ${errorMessage(error)}`, { cause: error })
  }
  const { openEngine } = await import('../node/engine/engine.ts')
  const { PasswordQueue } = await import('../node/engine/auth/password.ts')
  const { LocalStorage } = await import('../node/engine/files/local-storage.ts')
  const { ValidationFailed } = await import('../node/engine/errors.ts')
  await using engine = await openEngine({
    dir: path,
    clock: systemClock,
    rng: systemRng,
    log: createLogger({ level: 'warn', format: 'text', now: systemClock.now }),
    passwords: new PasswordQueue().lane(),
    files: new LocalStorage(join(path, 'storage')),
    checkpoint: 'sqlite',
    encryptionKey: encryptionKey(flags.encryptionEnv),
  })
  try {
    return await work(engine)
  } catch (error) {
    if (!(error instanceof ValidationFailed)) throw error
    const problems = Object.entries(error.errors).map(
      ([field, each]) => `${field}: ${each['message'] ?? JSON.stringify(each)}`,
    )
    throw new CliError(problems.join('; '), exitFailed, { cause: error })
  }
}

/** Asks the worker that has the tenant, on a grant of the control plane. @returns its answer. */
async function askTenant<T>(command: Command, tenant: string, body: Readonly<Record<string, unknown>>): Promise<T> {
  const client = clientOf(command)
  const grant = await new Grants(client, tenant, 'superusers').get()
  let response: Response
  try {
    response = await fetch(client.url + platformSuperusersPath, {
      method: 'POST',
      headers: { authorization: grantScheme + grant, 'x-tenant-id': tenant, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(requestTimeoutMs),
    })
  } catch (error) {
    throw new CliError(`cannot reach the fleet at ${client.url}: ${errorMessage(error)}`, exitUnreachable, {
      cause: error,
    })
  }
  const text = await response.text()
  if (!response.ok) throw failure(response.status, text)
  return JSON.parse(text) as T
}

function passwordOf(argument: string | undefined, flags: SuperuserFlags): string {
  const password = secretOption(argument, flags.passwordFile, 'password')
  if (password === null || password === '')
    throw new ConfigError('a password is needed, as an argument or in --password-file')
  return password
}

const superusers = () => import('../node/engine/auth/superusers.ts')

export function registerSuperuser(program: Command): void {
  const superuser = program.command('superuser').description('superusers: who may administer one tenant')
  const verb = (usage: string, about: string) =>
    addClientFlags(
      superuser
        .command(usage)
        .description(about)
        .option('--dir <PATH>', 'data directory of a standalone tenant; default ./pb_data')
        .option('--encryption-env <NAME>', 'environment variable with the 32 characters that encrypt the settings')
        .option('--tenant <SLUG>', 'a tenant of a fleet instead of a directory')
        .option('--password-file <PATH>', 'read the password from a file'),
    )

  const upsert = verb('upsert <email> [password]', 'create a superuser, or set the password of an existing one')
  upsert.action(async (email: string, argument: string | undefined, flags: SuperuserFlags) => {
    const password = passwordOf(argument, flags)
    if (flags.tenant !== undefined) {
      const path = `/api/cp/tenants/${encodeURIComponent(flags.tenant)}/superusers`
      await clientOf(upsert).request('POST', path, { email, password })
    } else await withEngine(flags, async (engine) => (await superusers()).upsertSuperuser(engine, email, password))
    print({ saved: email }, flags.json === true, () => `saved superuser ${email}`)
  })

  const create = verb('create <email> [password]', 'create a superuser')
  create.action(async (email: string, argument: string | undefined, flags: SuperuserFlags) => {
    const password = passwordOf(argument, flags)
    if (flags.tenant !== undefined) await askTenant(create, flags.tenant, { verb: 'create', email, password })
    else await withEngine(flags, async (engine) => (await superusers()).createSuperuser(engine, email, password))
    print({ created: email }, flags.json === true, () => `created superuser ${email}`)
  })

  const update = verb('update <email> [password]', 'set the password of a superuser')
  update.action(async (email: string, argument: string | undefined, flags: SuperuserFlags) => {
    const password = passwordOf(argument, flags)
    if (flags.tenant !== undefined) await askTenant(update, flags.tenant, { verb: 'update', email, password })
    else await withEngine(flags, async (engine) => (await superusers()).updateSuperuser(engine, email, password))
    print({ updated: email }, flags.json === true, () => `updated superuser ${email}`)
  })

  const remove = verb('delete <email>', 'delete a superuser; the last one stays')
  remove.action(async (email: string, flags: SuperuserFlags) => {
    if (flags.tenant !== undefined) await askTenant(remove, flags.tenant, { verb: 'delete', email })
    else {
      const isDeleted = await withEngine(flags, async (engine) => (await superusers()).deleteSuperuser(engine, email))
      if (!isDeleted) throw new CliError(`there is no superuser ${email}`, exitNotFound)
    }
    print({ deleted: email }, flags.json === true, () => `deleted superuser ${email}`)
  })

  const otp = verb('otp <email>', 'make a one-time password for a superuser who cannot get mails')
  otp.action(async (email: string, flags: SuperuserFlags) => {
    const made =
      flags.tenant !== undefined
        ? await askTenant<SuperuserOtp>(otp, flags.tenant, { verb: 'otp', email })
        : await withEngine(flags, async (engine) => (await superusers()).createSuperuserOtp(engine, email))
    print(
      made,
      flags.json === true,
      ({ otpId, password, validS }) => `OTP id    ${otpId}\npassword  ${password}\nvalid     ${validS} seconds`,
    )
  })

  const ips = verb('ips [addresses...]', 'set from where superusers may come; none: from anywhere')
  ips.action(async (addresses: string[], flags: SuperuserFlags) => {
    if (flags.tenant !== undefined) await askTenant(ips, flags.tenant, { verb: 'ips', addresses })
    else await withEngine(flags, async (engine) => (await superusers()).setSuperuserIps(engine, addresses))
    print({ addresses }, flags.json === true, () =>
      addresses.length === 0 ? 'superusers may come from anywhere' : `superusers may come from ${addresses.join(', ')}`,
    )
  })
}
