//! How R gets to know the functions of this crate.

/// Defines functions that R calls, and the description of them that `extendr_module!` asks the module `$module` for.
///
/// Each takes R objects, as [`crate::values::read`] makes them of the type that is stated, or else as
/// [`crate::objects::Argument`]s, and gives `Result<Answer, Error>`; R gets the list of [`crate::values::answer_to_r`].
/// extendr's own attribute is not used: it makes a `Robj` of each argument and of each answer, and notes the address of
/// each for ever, see `objects.rs`.
macro_rules! r_functions {
    ($metadata:ident; $(
        #[doc = $first:literal] $(#[doc = $more:literal])*
        fn $name:ident($($argument:ident $(: $type:ty)?),* $(,)?) $body:block
    )*) => {
        $(
            #[doc = $first] $(#[doc = $more])*
            extern "C" fn $name($($argument: ::extendr_api::SEXP),*) -> ::extendr_api::SEXP {
                // SAFETY: R calls this in its own thread, and keeps the arguments of a call until it returns.
                $(let $argument = unsafe { $crate::objects::Argument::new($argument) };)*
                $crate::respond(|| {
                    $($(let $argument: $type = $crate::values::read($argument)?;)?)*
                    $body
                })
            }
        )*

        /// The functions of this module.
        pub fn $metadata() -> ::extendr_api::metadata::Metadata {
            use ::extendr_api::metadata::{Arg, Func, Metadata};
            let functions = vec![$(Func {
                doc: concat!($first $(, "\n", $more)*),
                rust_name: stringify!($name),
                mod_name: stringify!($name),
                r_name: stringify!($name),
                c_name: concat!("wrap__", stringify!($name)),
                args: vec![$(Arg { name: stringify!($argument), arg_type: "SEXP", default: None }),*],
                return_type: "SEXP",
                func_ptr: $name as *const u8,
                hidden: false,
                invisible: None,
            }),*];
            Metadata { name: stringify!($metadata), functions, impls: Vec::new() }
        }
    };
}

pub(crate) use r_functions;
