//! What an image's maker says about running it, under what the person who runs it says.

use crate::options::RunOptions;
use crate::publish;
use image::{ImageConfig, RunConfig};

/// The options with the image's configuration where they are silent.
pub(crate) fn with_image(options: &RunOptions, image: &ImageConfig) -> RunOptions {
    let config = &image.config;
    let mut all = options.clone();
    let (entrypoint, command) = match &options.entrypoint {
        // A new entrypoint takes the image's command with it: that was made for the old one.
        Some(program) => {
            (Some(program.clone()).filter(|p| !p.is_empty()).into_iter().collect(), options.command.clone())
        }
        None if options.command.is_empty() => (config.entrypoint.clone(), config.cmd.clone()),
        None => (config.entrypoint.clone(), options.command.clone()),
    };
    all.entrypoint = None;
    all.command = [entrypoint, command].concat();
    all.env_of_image = config.env.iter().filter(|variable| options.keeps_env(variable)).cloned().collect();
    all.user = options.user.clone().or_else(|| Some(config.user.clone()).filter(|user| !user.is_empty()));
    all.workdir = options.workdir.clone().or_else(|| {
        let dir = std::path::Path::new("/").join(&config.working_dir);
        (!config.working_dir.is_empty()).then_some(dir)
    });
    let own = |name: &str| options.labels.iter().any(|(other, _)| other == name);
    let of_image = config.labels.iter().filter(|(name, _)| !own(name));
    all.labels = of_image.map(|(name, value)| (name.clone(), value.clone())).chain(options.labels.clone()).collect();
    all
}

/// What an image that is made of the container says about running it: the base's configuration with the person's words
/// over it.
pub(crate) fn of_container(options: &RunOptions, base: Option<&ImageConfig>) -> RunConfig {
    let mut config = base.map(|base| base.config.clone()).unwrap_or_default();
    config.env.retain(|variable| options.keeps_env(variable));
    match &options.entrypoint {
        Some(program) => {
            config.entrypoint = Some(program.clone()).filter(|program| !program.is_empty()).into_iter().collect();
            config.cmd = options.command.clone();
        }
        None if options.command.is_empty() => {}
        None => config.cmd = options.command.clone(),
    }
    for wanted in options.env_of_files.iter().chain(&options.env) {
        let name = |variable: &str| variable.split('=').next().map(str::to_owned);
        match config.env.iter_mut().find(|known| name(known) == name(wanted)) {
            Some(known) => known.clone_from(wanted),
            None => config.env.push(wanted.clone()),
        }
    }
    if let Some(user) = &options.user {
        config.user.clone_from(user);
    }
    if let Some(dir) = &options.workdir {
        config.working_dir = dir.to_string_lossy().into_owned();
    }
    config.labels.extend(options.labels.iter().cloned());
    if let Some(signal) = &options.stop_signal {
        config.stop_signal.clone_from(signal);
    }
    config.exposed_ports.extend(publish::exposed_by(options));
    config.healthcheck = options.health.over(config.healthcheck.as_ref());
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_person_and_of_the_image() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        // entrypoint and command of the image; of the person; and what runs
        let cases = [
            (("", "sh"), (None, ""), "sh"),
            (("", "sh"), (None, "ls -l"), "ls -l"),
            (("/go", "serve"), (None, ""), "/go serve"),
            (("/go", "serve"), (None, "stop now"), "/go stop now"),
            (("/go", "serve"), (Some("sh"), ""), "sh"),
            (("/go", "serve"), (Some("sh"), "-c x"), "sh -c x"),
            (("/go", "serve"), (Some(""), ""), ""),
            (("/go", "serve"), (Some(""), "ls"), "ls"),
        ];
        for ((entrypoint, cmd), (own, command), expected) in cases {
            let mut image = ImageConfig::default();
            (image.config.entrypoint, image.config.cmd) = (words(entrypoint), words(cmd));
            let options =
                RunOptions { entrypoint: own.map(str::to_owned), command: words(command), ..RunOptions::default() };
            assert_eq!(with_image(&options, &image).command, words(expected), "{entrypoint} {cmd} {own:?} {command}");
        }
    }

    #[test]
    fn the_person_has_the_last_word() {
        let mut image = ImageConfig::default();
        image.config.user = "www".into();
        image.config.working_dir = "srv".into();
        image.config.labels = [("a".into(), "image".into()), ("b".into(), "image".into())].into();
        let plain = with_image(&RunOptions::default(), &image);
        assert_eq!((plain.user.as_deref(), plain.workdir), (Some("www"), Some("/srv".into())));
        let own = RunOptions {
            user: Some("0".into()),
            workdir: Some("/tmp".into()),
            labels: vec![("a".into(), "own".into())],
            ..RunOptions::default()
        };
        let all = with_image(&own, &image);
        assert_eq!((all.user.as_deref(), all.workdir), (Some("0"), Some("/tmp".into())));
        assert_eq!(all.labels, [("b".into(), "image".into()), ("a".into(), "own".into())]);
    }
}
