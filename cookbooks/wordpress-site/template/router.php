<?php
// Asked first for each request: what PHP's server gives out as it is, what WordPress answers, and what is not for the world.

$path = rawurldecode((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
$site = $_SERVER['DOCUMENT_ROOT'];

function answer(int $status, string $text): bool
{
    http_response_code($status);
    header('Content-Type: text/plain; charset=utf-8');
    echo $text, "\n";
    return true;
}

/** A file from outside of the release, below its folder. */
function file_of(string $folder, string $name): bool
{
    [$folder, $file] = [realpath($folder), realpath("$folder/$name")];
    if (!$folder || !$file || !is_file($file) || !str_starts_with($file, "$folder/")) {
        return answer(404, 'not found');
    }
    header('Content-Type: ' . (mime_content_type($file) ?: 'application/octet-stream'));
    header('Content-Length: ' . filesize($file));
    header('X-Content-Type-Options: nosniff');
    readfile($file);
    return true;
}

/** The database answers, and WordPress is installed in it. */
function health(string $site): bool
{
    define('SHORTINIT', true);
    require "$site/wp-config.php";
    global $wpdb;
    $installed = $wpdb->get_var("SELECT option_value FROM $wpdb->options WHERE option_name = 'siteurl'") !== null;
    return $installed ? answer(200, 'ok') : answer(503, 'WordPress is not installed');
}

if (preg_match('#^/\.well-known/acme-challenge/[A-Za-z0-9_-]+$#', $path)) {
    return file_of(getenv('SITE_DATA') . '/acme', $path);
}
if ($path === '/healthz') {
    return health($site);
}
if (preg_match('#/\.|^/wp-config|^/wp-content/.*\.php$|^/wp-admin/install\.php|\.\.#i', $path)) {
    return answer(404, 'not found');
}
if (str_starts_with((string) getenv('SITE_URL'), 'https:') && ($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') !== 'https') {
    header('Location: ' . getenv('SITE_URL') . $_SERVER['REQUEST_URI'], true, 301);
    return true;
}
if (preg_match('#^/wp-content/uploads/(.+)$#', $path, $found)) {
    return file_of(getenv('SITE_DATA') . '/uploads', $found[1]);
}
if (is_dir($site . $path) && !str_ends_with($path, '/')) {
    header("Location: $path/", true, 301);
    return true;
}
if (is_file($site . $path) || ($path !== '/' && is_file($site . $path . 'index.php'))) {
    return false;
}
$_SERVER['SCRIPT_NAME'] = $_SERVER['PHP_SELF'] = '/index.php';
$_SERVER['SCRIPT_FILENAME'] = "$site/index.php";
chdir($site);
require "$site/index.php";
