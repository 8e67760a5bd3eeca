<?php
// assemble.php [--look] TARGET SOURCE CONTENT TEMPLATE: WordPress's files, over them themes and plugins of one's own (CONTENT may
// be empty), over them what the tree says; all as plain files. With --look ends with 0 where that is so, else with 1.

$look = $argv[1] === '--look';
[$target, $source, $content, $template] = array_slice($argv, $look ? 2 : 1);

/** The files below a folder, by their paths in it; links are followed. */
function below(string $folder, string $place = ''): array
{
    $files = [];
    if ($folder !== '' && is_dir($folder)) {
        $flags = FilesystemIterator::FOLLOW_SYMLINKS | FilesystemIterator::SKIP_DOTS;
        foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($folder, $flags)) as $path => $_) {
            $files[$place . substr($path, strlen($folder) + 1)] = $path;
        }
    }
    return $files;
}

function same(string $one, string $other): bool
{
    return is_file($other) && filesize($one) === filesize($other) && hash_file('sha256', $one) === hash_file('sha256', $other);
}

function must(bool $done, string $what): void
{
    if (!$done) {
        fwrite(STDERR, "cannot $what\n");
        exit(2);
    }
}

$wanted = array_merge(
    below(rtrim($source, '/'), 'site/'),
    below(rtrim($content, '/'), 'site/wp-content/'),
    below(rtrim($template, '/')),
);
$old = array_diff_key(below($target), $wanted);
$new = array_filter($wanted, fn ($file, $name) => !same($file, "$target/$name"), ARRAY_FILTER_USE_BOTH);
if ($look) {
    exit($old || $new ? 1 : 0);
}
foreach ($old as $file) {
    must(unlink($file), "remove $file");
}
foreach ($new as $name => $file) {
    must(is_dir(dirname("$target/$name")) || mkdir(dirname("$target/$name"), 0755, true), "make the folder of $target/$name");
    must(copy($file, "$target/$name"), "copy $file to $target/$name");
}
