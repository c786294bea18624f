// `superuser upsert|create|update|delete|otp|ips`: who may administer one tenant, on a standalone directory; `upsert`
// also on a tenant of a fleet.

import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import { createLogger } from '../lib/obs/log.ts'
import { systemRng } from '../lib/rng.ts'
import type { Engine } from '../node/engine/engine.ts'
import { CliError } from './cli-error.ts'
import { addClientFlags, clientOf, secretOption } from './client.ts'
import { encryptionKey } from './encryption-key.ts'
import { exitFailed, exitNotFound } from './exit-codes.ts'
import { print } from './output.ts'

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

function passwordOf(argument: string | undefined, flags: SuperuserFlags): string {
  const password = secretOption(argument, flags.passwordFile, 'password')
  if (password === null || password === '')
    throw new ConfigError('a password is needed, as an argument or in --password-file')
  return password
}

export function registerSuperuser(program: Command): void {
  const superuser = program.command('superuser').description('superusers: who may administer one tenant')
  const verb = (usage: string, about: string) =>
    superuser
      .command(usage)
      .description(about)
      .option('--dir <PATH>', 'data directory of a standalone tenant; default ./pb_data')
      .option('--encryption-env <NAME>', 'environment variable with the 32 characters that encrypt the settings')
      .option('--password-file <PATH>', 'read the password from a file')

  const upsert = verb('upsert <email> [password]', 'create a superuser, or set the password of an existing one')
  addClientFlags(upsert.option('--tenant <SLUG>', 'a tenant of a fleet instead of a directory')).action(
    async (email: string, argument: string | undefined, flags: SuperuserFlags) => {
      const password = passwordOf(argument, flags)
      if (flags.tenant !== undefined) {
        const path = `/api/cp/tenants/${encodeURIComponent(flags.tenant)}/superusers`
        await clientOf(upsert).request('POST', path, { email, password })
      } else {
        const { upsertSuperuser } = await import('../node/engine/auth/superusers.ts')
        await withEngine(flags, (engine) => upsertSuperuser(engine, email, password))
      }
      print({ saved: email }, flags.json === true, () => `saved superuser ${email}`)
    },
  )

  verb('create <email> [password]', 'create a superuser').action(
    async (email: string, argument: string | undefined, flags: SuperuserFlags) => {
      const { createSuperuser } = await import('../node/engine/auth/superusers.ts')
      await withEngine(flags, (engine) => createSuperuser(engine, email, passwordOf(argument, flags)))
      console.log(`created superuser ${email}`)
    },
  )

  verb('update <email> [password]', 'set the password of a superuser').action(
    async (email: string, argument: string | undefined, flags: SuperuserFlags) => {
      const { updateSuperuser } = await import('../node/engine/auth/superusers.ts')
      await withEngine(flags, (engine) => updateSuperuser(engine, email, passwordOf(argument, flags)))
      console.log(`updated superuser ${email}`)
    },
  )

  verb('delete <email>', 'delete a superuser; the last one stays').action(
    async (email: string, flags: SuperuserFlags) => {
      const { deleteSuperuser } = await import('../node/engine/auth/superusers.ts')
      const isDeleted = await withEngine(flags, (engine) => deleteSuperuser(engine, email))
      if (!isDeleted) throw new CliError(`there is no superuser ${email}`, exitNotFound)
      console.log(`deleted superuser ${email}`)
    },
  )

  verb('otp <email>', 'make a one-time password for a superuser who cannot get mails').action(
    async (email: string, flags: SuperuserFlags) => {
      const { createSuperuserOtp } = await import('../node/engine/auth/superusers.ts')
      const otp = await withEngine(flags, (engine) => createSuperuserOtp(engine, email))
      console.log(`OTP id    ${otp.otpId}\npassword  ${otp.password}\nvalid     ${otp.validS} seconds`)
    },
  )

  verb('ips [addresses...]', 'set from where superusers may come; none: from anywhere').action(
    async (addresses: string[], flags: SuperuserFlags) => {
      const { setSuperuserIps } = await import('../node/engine/auth/superusers.ts')
      await withEngine(flags, (engine) => setSuperuserIps(engine, addresses))
      console.log(
        addresses.length === 0
          ? 'superusers may come from anywhere'
          : `superusers may come from ${addresses.join(', ')}`,
      )
    },
  )
}
