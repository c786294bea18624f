// Signing in and out, a wrong password, a forgotten one, addresses that need a superuser or do not exist.

import { dialog, logIn, superuser, type Tour, toast, visitPage } from '../tour.ts'

export const sessionTour: Tour = async ({ page, api, mail, url, step }) => {
  await api.settings.update({
    smtp: { enabled: true, host: '127.0.0.1', port: mail.port, authMethod: 'PLAIN' },
    meta: { appURL: url },
  })
  await step('a wrong password', async () => {
    await page.goto('/_/')
    await page.getByLabel('Email').fill(superuser.email)
    await page.locator('input[type=password]').fill('wrongwrong')
    await page.getByRole('button', { name: 'Login' }).click()
    await page.getByText('Invalid login credentials.').first().waitFor()
  })
  await step('addresses that need a superuser', async () => {
    await visitPage(page, 'settings')
    await page.waitForURL(/#\/login/)
  })
  await step('a forgotten password', async () => {
    await page.locator('a[href="#/request-password-reset"]').click()
    await page.getByText('Enter the email associated').waitFor()
    await page.getByLabel('Email').fill(superuser.email)
    await page.getByRole('button', { name: 'Send recovery link' }).click()
    await page.getByText(/for the recovery link/).waitFor()
    const path = /\/_\/#[\w./-]+/.exec((await mail.take(superuser.email)).text)![0]
    await page.goto(path)
    await page.getByLabel('New password', { exact: true }).fill('0987654321')
    await page.getByLabel('New password confirm').fill('0987654321')
    await page.getByRole('button', { name: 'Set new password' }).click()
    await page.getByText('The password was successfully changed.').waitFor()
    await page.goto(path)
    await page.reload()
    await page.getByLabel('New password', { exact: true }).fill(superuser.password)
    await page.getByLabel('New password confirm').fill(superuser.password)
    await page.getByRole('button', { name: 'Set new password' }).click()
    await toast(page, /error occurred/)
  })
  await step('back to the first password', async () => {
    await page.goto('/_/#/login')
    await page.getByLabel('Email').fill(superuser.email)
    await page.locator('input[type=password]').fill('0987654321')
    await page.getByRole('button', { name: 'Login' }).click()
    await page.getByRole('button', { name: 'New collection' }).waitFor()
    await visitPage(page, 'collections?collection=_superusers')
    await page.locator('table tbody tr').getByText(superuser.email).first().click()
    await dialog(page).getByText('change password').click()
    await dialog(page).locator('[name=password]').fill(superuser.password)
    await dialog(page).locator('[name=passwordConfirm]').fill(superuser.password)
    await dialog(page).getByRole('button', { name: 'Save changes' }).click()
    await page.locator('.modal').filter({ visible: true }).first().waitFor({ state: 'hidden' })
  })
  await step('a changed password ends the session', async () => {
    await visitPage(page, 'collections')
    await page.waitForURL(/#\/login/)
    await logIn(page)
  })
  await step('out and in again', async () => {
    await page.locator('.logged-user').click()
    await page.getByRole('button', { name: 'Logout' }).click()
    await page.waitForURL(/#\/login/)
    await logIn(page)
  })
  await step('an address that is nothing', async () => {
    await visitPage(page, 'nowhere')
    await page.waitForURL(/#\/collections/)
  })
}
