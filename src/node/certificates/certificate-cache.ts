// Certificates and the key of the ACME account on disk, in the folder and the files that PocketBase keeps them in
// (golang.org/x/crypto/acme/autocert, DirCache): a directory that moves here or back asks for nothing anew.

import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError, errorCode, errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'

export interface Certificate {
  readonly host: string
  /** PEM. */
  readonly key: string
  /** PEM, the leaf first. */
  readonly chain: string
  /** Begin and end of its validity, ms since the Unix epoch. */
  readonly validFromMs: number
  readonly expiresAtMs: number
}

/** What such a file may hold, bytes; a key and a chain need about 6 KiB. */
const fileBytesMax = 256 * 1024
const accountFile = 'acme_account+key'
const pemBlock = /-----BEGIN ([A-Z0-9 ]{1,40})-----[A-Za-z0-9+/=\s]+-----END \1-----/g

/**
 * A certificate out of its PEM blocks: one private key, then the chain.
 *
 * @throws Error when it is not for `host`, when key and leaf do not belong together, or when something is missing.
 */
export function parseCertificate(host: string, pem: string): Certificate {
  const blocks = [...pem.matchAll(pemBlock)]
  const key = blocks.find(([, label]) => label!.endsWith('PRIVATE KEY'))?.[0]
  const chain = blocks.filter(([, label]) => label === 'CERTIFICATE').map(([block]) => block)
  if (key === undefined) throw new Error('it holds no private key')
  if (chain[0] === undefined) throw new Error('it holds no certificate')
  const leaf = new X509Certificate(chain[0])
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('its key is not that of its certificate')
  if (leaf.checkHost(host) === undefined) throw new Error(`its certificate is not for ${host}`)
  return {
    host,
    key: `${key}\n`,
    chain: `${chain.join('\n')}\n`,
    validFromMs: Date.parse(leaf.validFrom),
    expiresAtMs: Date.parse(leaf.validTo),
  }
}

export class CertificateCache {
  readonly #dir: string
  readonly #log: Logger

  /** @param dir made by the first write. */
  constructor(dir: string, log: Logger) {
    this.#dir = dir
    this.#log = log
  }

  /**
   * The certificate of `host`, valid or not; null when there is none, or none that can be used, which is logged.
   * Throws ConfigError when the folder cannot be read.
   */
  async read(host: string): Promise<Certificate | null> {
    const pem = await this.#readFile(host)
    if (pem === null) return null
    try {
      return parseCertificate(host, pem)
    } catch (error) {
      this.#log.warn('certificate.unusable', { host, error: errorMessage(error) })
      return null
    }
  }

  write({ host, key, chain }: Certificate): Promise<void> {
    return this.#writeFile(host, key + chain)
  }

  /** PEM of the account's key; null when there is none. Throws ConfigError when the folder cannot be read. */
  async readAccountKey(): Promise<string | null> {
    const pem = await this.#readFile(accountFile)
    return pem && (pem.match(pemBlock)?.[0] ?? null)
  }

  writeAccountKey(pem: string): Promise<void> {
    return this.#writeFile(accountFile, pem)
  }

  async #readFile(name: string): Promise<string | null> {
    try {
      const bytes = await readFile(join(this.#dir, name))
      return bytes.length > fileBytesMax ? null : bytes.toString()
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return null
      throw new ConfigError(`certificates in ${this.#dir} cannot be read: ${errorMessage(error)}`, { cause: error })
    }
  }

  /** Nobody but the owner may read it, and a crash leaves the old file or the new one. */
  async #writeFile(name: string, text: string): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 })
    const target = join(this.#dir, name)
    const scratch = `${target}.new`
    await rm(scratch, { force: true })
    const file = await open(scratch, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(scratch, target)
  }
}
