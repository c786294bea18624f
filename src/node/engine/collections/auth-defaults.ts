// What a new auth collection starts with. The mails say what PocketBase's say, with its placeholders, so that templates
// move both ways.

import type { AuthOptions, EmailTemplate } from './collection.ts'

const closing = `<p>
  Thanks,<br/>
  {APP_NAME} team
</p>`

function linkMail(subject: string, intro: string, page: string, button: string, notice: string): EmailTemplate {
  const body = `<p>Hello,</p>
${intro}
<p>
  <a class="btn" href="{APP_URL}/_/#/auth/${page}/{TOKEN}" target="_blank" rel="noopener">${button}</a>
</p>
<p><i>${notice}</i></p>
${closing}`
  return { subject, body }
}

/** @param secret makes one fresh token secret per call. */
export function defaultAuthOptions(secret: () => string): AuthOptions {
  const token = (duration: number) => ({ secret: secret(), duration })
  return {
    authRule: '',
    manageRule: null,
    authAlert: {
      enabled: true,
      emailTemplate: {
        subject: 'Login from a new location',
        body: `<p>Hello,</p>
<p>We noticed a login to your {APP_NAME} account from a new location:</p>
<p><em>{ALERT_INFO}</em></p>
<p><strong>If this wasn't you, you should immediately change your {APP_NAME} account password to revoke access from all other locations.</strong></p>
<p>If this was you, you may disregard this email.</p>
${closing}`,
      },
    },
    oauth2: { providers: [], mappedFields: { id: '', name: '', username: '', avatarURL: '' }, enabled: false },
    passwordAuth: { enabled: true, identityFields: ['email'] },
    mfa: { enabled: false, duration: 600, rule: '' },
    otp: {
      enabled: false,
      duration: 180,
      length: 8,
      emailTemplate: {
        subject: 'OTP for {APP_NAME}',
        body: `<p>Hello,</p>
<p>Your one-time password is: <strong>{OTP}</strong></p>
<p><i>If you didn't ask for the one-time password, you can ignore this email.</i></p>
${closing}`,
      },
    },
    authToken: token(432_000),
    passwordResetToken: token(1_800),
    emailChangeToken: token(1_800),
    verificationToken: token(86_400),
    fileToken: token(180),
    verificationTemplate: linkMail(
      'Verify your {APP_NAME} email',
      '<p>Thank you for joining us at {APP_NAME}.</p>\n<p>Click on the button below to verify your email address.</p>',
      'confirm-verification',
      'Verify',
      "If you didn't recently register, please ignore this email.",
    ),
    resetPasswordTemplate: linkMail(
      'Reset your {APP_NAME} password',
      '<p>Click on the button below to reset your password.</p>',
      'confirm-password-reset',
      'Reset password',
      "If you didn't ask to reset your password, please ignore this email.",
    ),
    confirmEmailChangeTemplate: linkMail(
      'Confirm your {APP_NAME} new email address',
      '<p>Click on the button below to confirm your new email address.</p>',
      'confirm-email-change',
      'Confirm new email',
      "If you didn't ask to change your email address, please ignore this email.",
    ),
  }
}
