// Settings of every kind, backups, crons, SQL, export and import of collections, logs.

import { until } from '../../support/wait.ts'
import { dialog, logIn, noDialog, openMenu, type Tour, toast, visitPage, yes } from '../tour.ts'

export const settingsTour: Tour = async ({ page, api, mail, step }) => {
  const section = (title: string) => page.locator('.accordion > summary').filter({ hasText: title })
  await step('log in', () => logIn(page))

  await step('application, batch, rate limits, proxies', async () => {
    await visitPage(page, 'settings')
    await page.getByLabel('Application name').fill('A shop')
    await page.getByLabel('Application URL').fill('http://127.0.0.1:8090')
    await section('Batch Web API').click()
    await page.locator('.accordion[open]').getByText('Enable', { exact: true }).first().click()
    await section('Rate limiting').click()
    await page.getByRole('button', { name: 'Add rate limit rule' }).waitFor()
    await section('IP proxy headers').click()
    await page.getByText('X-Forwarded-For').first().click()
    await page.getByRole('button', { name: 'Save changes' }).click()
    await toast(page, 'Successfully saved')
  })

  await step('settings that are refused', async () => {
    await page.getByLabel('Application URL').fill('no url')
    await page.getByRole('button', { name: 'Save changes' }).click()
    await page
      .getByText(/valid URL/)
      .first()
      .waitFor()
  })

  await step('mail, with a test', async () => {
    await visitPage(page, 'settings/mail')
    await page.getByLabel('Sender name').fill('The shop')
    await page.getByText(/Use SMTP mail server/).click()
    await page.getByLabel('SMTP server host').fill('127.0.0.1')
    await page.getByLabel('Port').fill(String(mail.port))
    await page.getByRole('button', { name: 'Save changes' }).click()
    await toast(page, 'Successfully saved')
    await page.getByRole('button', { name: 'Send test email' }).click()
    for (const template of ['Verification', 'Password reset', 'OTP']) {
      await dialog(page).getByText(template, { exact: true }).click()
      await dialog(page).getByLabel('To email address').fill('test@example.com')
      await dialog(page).getByRole('button', { name: 'Send', exact: true }).click()
      await mail.take('test@example.com')
      await noDialog(page)
      await page.getByRole('button', { name: 'Send test email' }).click()
    }
    await dialog(page).getByRole('button', { name: 'Close', exact: true }).click()
  })

  await step('the form of a bucket, cancelled', async () => {
    await visitPage(page, 'settings/storage')
    await page.getByText('Use S3 storage').click()
    for (const [label, value] of [
      ['Endpoint', 'http://127.0.0.1:9'],
      ['Bucket', 'files'],
      ['Region', 'us-east-1'],
      ['Access key', 'key'],
      ['Secret', 'secret'],
    ] as const)
      await page.getByLabel(label).fill(value)
    await page.getByRole('button', { name: 'Cancel' }).click()
  })

  await step('backups: make, see, delete; automatic ones', async () => {
    await visitPage(page, 'settings/backups')
    await page.getByRole('button', { name: 'Initialize new backup' }).click()
    await dialog(page).getByLabel('Backup name').fill('by_hand.zip')
    await dialog(page).getByRole('button', { name: 'Start backup' }).click()
    await page.getByText('by_hand.zip').first().waitFor()
    await noDialog(page)
    await page.getByRole('button', { name: 'Backup options' }).click()
    await page.getByText('Enable auto backups').click()
    await page.getByLabel('Cron expression').fill('nonsense')
    await page.getByRole('button', { name: 'Save changes' }).click()
    await page
      .getByText(/[Ii]nvalid cron/)
      .first()
      .waitFor()
    await page.getByLabel('Cron expression').fill('0 3 * * *')
    await page.getByRole('button', { name: 'Save changes' }).click()
    await toast(page, 'Successfully saved')
    await page.locator('.list-item').filter({ hasText: 'by_hand.zip' }).hover()
    await page.locator('.list-item').filter({ hasText: 'by_hand.zip' }).locator('button').last().click()
    await yes(page)
    await page.getByText('by_hand.zip', { exact: true }).waitFor({ state: 'detached' })
  })

  await step('a cron by hand', async () => {
    await visitPage(page, 'settings/crons')
    const job = page.locator('.list-item').filter({ hasText: '__pbLogsCleanup__' })
    await job.hover()
    await job.locator('button').last().click()
    await toast(page, /Successfully/)
  })

  await step('SQL', async () => {
    await visitPage(page, 'settings/sql')
    const editor = page.locator('.editor-content').first()
    await editor.fill('SELECT id, email FROM _superusers')
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Execute' }).click()
    await page.getByText('root@example.com').nth(1).waitFor()
    await editor.fill('SELECT missing FROM _superusers')
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Execute' }).click()
    await page
      .getByText(/no such column/)
      .first()
      .waitFor()
  })

  await step('export and import of collections', async () => {
    await visitPage(page, 'settings/export-collections')
    await page.getByText('Select all').waitFor()
    const download = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Download as JSON' }).click()
    await (await download).delete()
    await visitPage(page, 'settings/import-collections')
    const notes = { id: 'pbc_0123456789', name: 'notes', type: 'base', fields: [{ name: 'title', type: 'text' }] }
    await page.getByLabel('Collections', { exact: true }).fill(JSON.stringify([notes]))
    await page.getByText('Merge with the existing collections').click()
    await page.getByText('Added').first().waitFor()
    await page.getByRole('button', { name: 'Review' }).click()
    await dialog(page).getByRole('button', { name: 'Confirm and import' }).click()
    await toast(page, /Successfully imported/)
  })

  await step('logs: chart, filter, one of them, what is kept', async () => {
    // Entries are written some seconds after their requests.
    await until('entries in the log', async () => (await api.logs.getList(1, 1)).totalItems > 0)
    await visitPage(page, 'logs')
    await page.getByText('Include requests by superusers').click()
    const entries = page.locator('table tbody tr:has(input[type=checkbox])')
    await entries.first().waitFor()
    await page.locator('.searchbar .editor-content').first().fill('data.status < 500')
    await page.keyboard.press('Escape')
    await page.locator('.searchbar').getByRole('button', { name: 'Search', exact: true }).click()
    await entries.first().waitFor()
    await entries.first().click()
    await dialog(page).getByRole('button', { name: 'Download JSON' }).waitFor()
    await dialog(page).getByRole('button', { name: 'Close', exact: true }).click()
    await noDialog(page)
    await page.locator('.page-header .btn').first().click()
    await dialog(page).getByLabel('Max days retention').fill('7')
    await dialog(page).getByRole('button', { name: 'Save changes' }).click()
    await toast(page, 'Successfully saved')
  })

  await step('lock the controls', async () => {
    await api.settings.update({ meta: { hideControls: true } })
    await visitPage(page, 'collections?collection=users')
    await page.getByText('No records found.').first().waitFor()
    await api.settings.update({ meta: { hideControls: false } })
  })
  await step('color scheme', async () => {
    await page.getByTitle('Color scheme').click()
    await openMenu(page).getByRole('button', { name: 'Dark' }).click()
  })
}
