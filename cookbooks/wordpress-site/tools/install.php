<?php
// install.php FOLDER [--look]: installs WordPress from FOLDER in its database; with --look ends with 0 where it is there, with
// 1 where it is not. Anything else is an error.

$ended = false;
ob_start();
register_shutdown_function(function () use (&$ended): void {
    if ($ended) {
        return;
    }
    // WordPress tells of a database that it cannot reach in a page, and ends as if all were well.
    fwrite(STDERR, trim(preg_replace('/\s+/', ' ', html_entity_decode(strip_tags((string) ob_get_clean())))) . "\n");
    exit(2);
});

define('WP_INSTALLING', true);
require $argv[1] . '/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';

$installed = is_blog_installed();
if (!$installed && ($argv[2] ?? '') !== '--look') {
    // Nobody outside is asked, and no mail is sent: the site does not answer yet.
    add_filter('pre_http_request', fn () => new WP_Error('not_yet', 'not while it is installed'));
    add_filter('pre_wp_mail', '__return_false');
    wp_install(SITE_TITLE, getenv('SITE_ADMIN'), getenv('SITE_EMAIL'), true, '', wp_slash(getenv('ADMIN_PASSWORD')));
    update_option('permalink_structure', '/%year%/%monthnum%/%day%/%postname%/');
    $installed = is_blog_installed();
}
$ended = true;
ob_end_clean();
exit($installed ? 0 : 1);
