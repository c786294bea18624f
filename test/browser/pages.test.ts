// Goal: what mails, redirects and the first start link to works in a browser, without a script or style from elsewhere.
// Method: real tokens of a running tenant in the page's address; what is said is read as a person would find it.

import { expect } from 'bun:test'
import type { Page } from 'playwright-core'
import { createInstallerPath, upsertSuperuser } from '../../src/node/engine/auth/superusers.ts'
import { openPage, startBrowser } from '../support/browser.ts'
import { startMailServer } from '../support/mail-server.ts'
import { testWithPeers } from '../support/peers.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'

const timeoutMs = 120_000

/** Runs `body` in a page of a new tenant; nothing may go to the console, and no answer below `/_/` may fail. */
async function inPage(chromium: string, body: (page: Page, tenant: Standalone) => Promise<void>): Promise<void> {
  await using opened = new AsyncDisposableStack()
  const tenant = await startStandalone()
  opened.defer(() => tenant.stop())
  const browser = await startBrowser(chromium)
  opened.defer(() => browser.close())
  const { page, observed } = await openPage(browser, tenant.url)
  await body(page, tenant)
  expect(observed.troubles).toEqual([])
}

const heading = (page: Page, text: string) => page.getByRole('heading', { name: text }).waitFor()

/** The path of the page that a mail links to. */
function linkOf(mail: string): string {
  return /\/_\/#[\w./-]+/.exec(mail)?.[0] ?? ''
}

testWithPeers(
  ['chromium'],
  'the first superuser is made on the page that the installer link names',
  ({ chromium }) =>
    inPage(chromium, async (page, { engine, url }) => {
      const path = await createInstallerPath(engine)
      await page.goto(path!)
      await heading(page, 'Create the first superuser')
      await page.getByRole('button', { name: 'Create superuser' }).click()
      expect(await page.getByText('Fill this in.').filter({ visible: true }).count()).toBe(3)
      await page.getByLabel('E-mail').fill('first@example.com')
      await page.getByLabel('Password', { exact: true }).fill('short')
      await page.getByLabel('Password again', { exact: true }).fill('other')
      await page.getByRole('button', { name: 'Create superuser' }).click()
      await page.getByText('The two passwords differ.').waitFor()
      await page.getByLabel('Password again', { exact: true }).fill('short')
      await page.getByRole('button', { name: 'Create superuser' }).click()
      await page.getByText('Must be at least 8 character(s).').waitFor()
      expect(await page.getByLabel('Password', { exact: true }).getAttribute('aria-invalid')).toBe('true')
      await page.getByRole('button', { name: 'Show password', exact: true }).click()
      expect(await page.getByLabel('Password', { exact: true }).getAttribute('type')).toBe('text')
      for (const label of ['Password', 'Password again'])
        await page.getByLabel(label, { exact: true }).fill('1234567890')
      await page.getByRole('button', { name: 'Create superuser' }).click()
      await heading(page, 'The superuser is made')
      const signedIn = await fetch(`${url}/api/collections/_superusers/auth-with-password`, {
        method: 'POST',
        body: new URLSearchParams({ identity: 'first@example.com', password: '1234567890' }),
      })
      expect(signedIn.status).toBe(200)
      expect(await createInstallerPath(engine)).toBeNull()
    }),
  timeoutMs,
)

testWithPeers(
  ['chromium'],
  'links of mails set a password, confirm an address and change one; used ones say so',
  ({ chromium }) =>
    inPage(chromium, async (page, { engine, url }) => {
      await using mail = await startMailServer().then((server) =>
        Object.assign(server, { [Symbol.asyncDispose]: () => server.stop() }),
      )
      await upsertSuperuser(engine, 'root@example.com', '1234567890')
      await engine.settingsStore.save({
        ...engine.settings,
        smtp: { ...engine.settings.smtp, enabled: true, host: '127.0.0.1', port: mail.port },
      })
      const post = async (path: string, body: object, token = '') => {
        const response = await fetch(`${url}/api/collections/users/${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: token },
          body: JSON.stringify(body),
        })
        expect(response.ok).toBe(true)
        return response
      }
      const email = 'ann@example.com'
      await post('records', { email, password: '1234567890', passwordConfirm: '1234567890' })

      await page.goto('/_/#/request-password-reset')
      await page.getByLabel('E-mail').fill('not an address')
      await page.getByRole('button', { name: 'Send a mail' }).click()
      await page.getByText('This is not an e-mail address.').waitFor()
      await page.getByLabel('E-mail').fill('root@example.com')
      await page.getByRole('button', { name: 'Send a mail' }).click()
      await heading(page, 'Look for a mail')
      const reset = linkOf((await mail.take('root@example.com')).text)
      await page.goto(reset)
      await page.getByText('root@example.com').waitFor()
      for (const label of ['New password', 'New password again'])
        await page.getByLabel(label, { exact: true }).fill('0987654321')
      await page.getByRole('button', { name: 'Set new password' }).click()
      await heading(page, 'The password is changed')

      await page.goto(reset)
      await page.reload()
      for (const label of ['New password', 'New password again'])
        await page.getByLabel(label, { exact: true }).fill('0987654321')
      await page.getByRole('button', { name: 'Set new password' }).click()
      await page.getByText('The link is not valid any more.').waitFor()

      await post('request-verification', { email })
      await page.goto(linkOf((await mail.take(email)).text))
      await heading(page, 'The address is confirmed')

      const signIn = await post('auth-with-password', { identity: email, password: '1234567890' })
      const { token } = (await signIn.json()) as { token: string }
      await post('request-email-change', { newEmail: 'anna@example.com' }, token)
      const change = linkOf((await mail.take('anna@example.com')).text)
      await page.goto(change)
      await page.getByText('anna@example.com').waitFor()
      await page.getByLabel('Your password', { exact: true }).fill('wrong')
      await page.getByRole('button', { name: 'Change address' }).click()
      await page
        .getByText(/password/i)
        .filter({ visible: true })
        .and(page.locator('.problem'))
        .waitFor()
      await page.getByLabel('Your password', { exact: true }).fill('1234567890')
      await page.getByRole('button', { name: 'Change address' }).click()
      await heading(page, 'The address is changed')
    }),
  timeoutMs,
)

testWithPeers(
  ['chromium'],
  'what answers in the place of the server is told, whatever it says',
  ({ chromium }) =>
    inPage(chromium, async (page) => {
      await page.goto('/_/#/request-password-reset')
      await page.getByLabel('E-mail').fill('ann@example.com')
      for (const [status, body, told] of [
        [502, '<html>', 'The server answered with 502.'],
        [400, 'null', 'The server answered with 400.'],
        [403, '{"message":1,"data":"no"}', 'The server answered with 403.'],
        [404, '{"message":"","data":{"email":null,"other":"x"}}', 'The server answered with 404.'],
        [400, '{"data":{"email":{"message":"Not this one."},"constructor":{"message":"Nor that."}}}', 'Nor that.'],
      ] as const) {
        await page.route('**/api/**', (route) => route.fulfill({ status, body }), { times: 1 })
        await page.getByRole('button', { name: 'Send a mail' }).click()
        await page.locator('form > .problem').getByText(told, { exact: true }).waitFor()
      }
      await page.getByText('Not this one.').waitFor()
    }),
  timeoutMs,
)

testWithPeers(
  ['chromium'],
  'other addresses say what they are, in both themes and on a narrow screen',
  ({ chromium }) =>
    inPage(chromium, async (page, { url }) => {
      await page.goto('/_/')
      await heading(page, 'There is no dashboard here yet')
      for (const [hash, title] of [
        ['/auth/oauth2-redirect-success', 'You are signed in'],
        ['/auth/oauth2-redirect-failure', 'Signing in did not work'],
        ['/pbinstall/nonsense', 'This link does not work'],
        ['/auth/confirm-verification/a.b.c', 'This link does not work'],
        ['/auth/confirm-password-reset/%3Cimg%20src%3Dx%3E', 'This link does not work'],
        ['/login', 'There is no dashboard here yet'],
      ] as const) {
        await page.goto(`/_/#${hash}`)
        await heading(page, title)
      }
      await page.setViewportSize({ width: 320, height: 600 })
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(320)
      const ground = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
      await page.emulateMedia({ colorScheme: 'light' })
      const light = await ground()
      await page.emulateMedia({ colorScheme: 'dark' })
      expect(await ground()).not.toBe(light)

      const answer = await fetch(`${url}/_/`)
      const policy = answer.headers.get('content-security-policy') ?? ''
      expect(policy).toContain("default-src 'none'")
      expect(policy).not.toContain('unsafe')
      expect((await fetch(`${url}/_`, { redirect: 'manual' })).status).toBe(307)
      const again = await fetch(`${url}/_/pages.js`)
      const etag = again.headers.get('etag')!
      expect((await fetch(`${url}/_/pages.js`, { headers: { 'if-none-match': etag } })).status).toBe(304)
      expect((await fetch(`${url}/_/nothing.js`)).status).toBe(404)
    }),
  timeoutMs,
)
