// What superusers must hear of when nobody looks: a scheduled backup failed. PocketBase: core/system_alert.go.

import type { AuthHost } from '../auth/auth-host.ts'
import { installerEmail } from '../auth/system-records.ts'
import { superusersName } from '../collections/collection.ts'
import { quoteName } from '../db/sql.ts'
import { deliver } from './record-mails.ts'
import { escapeHtml, mailDocument } from './template.ts'

/** Superusers that are told; there are a handful. */
const recipientsMax = 100

/** Tells every superuser. @returns one error for each mail that could not be sent; a failure must not hide its cause. */
export async function sendSystemAlert(host: AuthHost, subject: string, details: string): Promise<Error[]> {
  const { meta } = host.settings
  const rows = host.data.all<{ email: string }>(
    `SELECT email FROM ${quoteName(superusersName)} WHERE email != ? ORDER BY created LIMIT ?`,
    [installerEmail, recipientsMax],
  )
  const errors: Error[] = []
  for (const { email } of rows) {
    try {
      await deliver(host, {
        from: { name: meta.senderName, address: meta.senderAddress },
        to: [{ address: email }],
        subject: `[${meta.appName} system alert] ${subject}`,
        html: mailDocument(
          `<p>Hello,</p><p>${escapeHtml(meta.appName)} reports a problem:</p><pre>${escapeHtml(details)}</pre>`,
        ),
      })
    } catch (error) {
      errors.push(error instanceof Error ? error : new Error(String(error)))
    }
  }
  return errors
}
