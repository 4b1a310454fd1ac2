//! R's objects by R's own functions, without extendr's `Robj`.
//!
//! extendr notes every object of which a `Robj` was made, by its address, in a table that grows to more than twice its size
//! each time so many addresses were seen, and never shrinks (extendr-api 0.9.0, `ownership.rs`). A server that answers for
//! weeks must not come by there. So what R hands over is read here, and what R gets is made here.
//!
//! R keeps the arguments of a call until it returns. What is made is protected until it lies in something that is; see
//! *Writing R Extensions*, "Handling the effects of garbage collection".

use std::any::Any;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::str::Utf8Error;

use extendr_ffi::{
    cetype_t, R_ClassSymbol, R_ClearExternalPtr, R_ExternalPtrAddr, R_ExternalPtrTag, R_MakeExternalPtr, R_NaInt,
    R_NaString, R_NamesSymbol, R_NilValue, R_xlen_t, Rf_allocVector, Rf_getAttrib, Rf_install, Rf_mkCharLenCE,
    Rf_protect, Rf_setAttrib, Rf_unprotect, Rf_xlength, INTEGER, LOGICAL, RAW, REAL, R_CHAR, SET_STRING_ELT,
    SET_VECTOR_ELT, SEXP, SEXPTYPE, STRING_ELT, TYPEOF, VECTOR_ELT,
};

/// An argument of a call from R, or a part of one.
#[derive(Clone, Copy)]
pub struct Argument<'a> {
    object: SEXP,
    /// Whether a vector of one element is an array of one, not the element.
    is_list: bool,
    kept_by_r: PhantomData<&'a ()>,
}

/// What an R object holds.
pub enum Content<'a> {
    /// `NULL`
    Null,
    /// A logical vector; `NA` is [`not_available`].
    Flags(&'a [i32]),
    /// An integer vector; `NA` is [`not_available`].
    Integers(&'a [i32]),
    /// A numeric vector; `NA` is a NaN.
    Numbers(&'a [f64]),
    /// A character vector.
    Texts(Texts<'a>),
    /// A list.
    List(Elements<'a>),
    /// Something else, in words.
    Other(&'static str),
}

/// The elements of a character vector: text, `None` for `NA`, or an error where the bytes are no UTF-8.
pub struct Texts<'a>(Indexed<'a>);

/// The elements of a list.
pub struct Elements<'a>(Indexed<'a>);

struct Indexed<'a> {
    vector: Argument<'a>,
    next: usize,
    length: usize,
}

/// `NA` of logical and integer vectors.
pub fn not_available() -> i32 {
    // Set once, when R starts.
    unsafe { R_NaInt }
}

impl<'a> Argument<'a> {
    /// # Safety
    ///
    /// `object` is an R object that is kept for as long as `'a`, all of which passes in R's thread.
    pub unsafe fn new(object: SEXP) -> Self {
        Self {
            object,
            is_list: false,
            kept_by_r: PhantomData,
        }
    }

    /// The same vector, where even one element is to be an array: what a caller of this knows of the argument.
    pub fn as_list(self) -> Self {
        Self { is_list: true, ..self }
    }

    /// Whether a vector of one element is an array of one: what R's `I()` says.
    pub fn is_list_by_itself(self) -> bool {
        self.is_list || self.inherits("AsIs")
    }

    /// What an external pointer of [`pointer`] points to; `None` where it is another object, points to something else, or
    /// comes from another session (R saves it without what it points to).
    pub fn pointee<T: 'static>(self) -> Option<&'a T> {
        // Only pointers with this tag are made here, and they point to such a box until R's garbage collector takes them.
        unsafe {
            if TYPEOF(self.object) != SEXPTYPE::EXTPTRSXP || R_ExternalPtrTag(self.object) != tag() {
                return None;
            }
            let content: *const Box<dyn Any> = R_ExternalPtrAddr(self.object).cast();
            content.as_ref().and_then(|content| content.downcast_ref())
        }
    }

    /// What it holds.
    pub fn content(self) -> Content<'a> {
        // Each function is asked of the type that it is for.
        unsafe {
            match TYPEOF(self.object) {
                SEXPTYPE::NILSXP => Content::Null,
                SEXPTYPE::LGLSXP => Content::Flags(self.slice(LOGICAL(self.object))),
                SEXPTYPE::INTSXP => Content::Integers(self.slice(INTEGER(self.object))),
                SEXPTYPE::REALSXP => Content::Numbers(self.slice(REAL(self.object))),
                SEXPTYPE::STRSXP => Content::Texts(Texts(self.indexed())),
                SEXPTYPE::VECSXP => Content::List(Elements(self.indexed())),
                SEXPTYPE::CLOSXP | SEXPTYPE::BUILTINSXP | SEXPTYPE::SPECIALSXP => Content::Other("a function"),
                SEXPTYPE::ENVSXP => Content::Other("an environment"),
                SEXPTYPE::SYMSXP | SEXPTYPE::LANGSXP | SEXPTYPE::EXPRSXP => Content::Other("code"),
                SEXPTYPE::CPLXSXP => Content::Other("a complex number"),
                SEXPTYPE::RAWSXP => Content::Other("raw bytes"),
                _ => Content::Other("something"),
            }
        }
    }

    /// The names of its elements, if they have any.
    pub fn names(self) -> Option<Texts<'a>> {
        self.texts_of(unsafe { R_NamesSymbol })
    }

    /// Whether it is of an R class.
    pub fn inherits(self, class: &str) -> bool {
        let classes = self.texts_of(unsafe { R_ClassSymbol });
        classes.is_some_and(|mut classes| classes.any(|name| name == Ok(Some(class))))
    }

    /// An attribute that is a character vector. It is kept with what it belongs to.
    fn texts_of(self, attribute: SEXP) -> Option<Texts<'a>> {
        let attribute = unsafe { Self::new(Rf_getAttrib(self.object, attribute)) };
        match attribute.content() {
            Content::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// The bytes of a raw vector; none where it is no raw vector.
    pub fn bytes(self) -> &'a [u8] {
        unsafe {
            match TYPEOF(self.object) {
                SEXPTYPE::RAWSXP => self.slice(RAW(self.object)),
                _ => &[],
            }
        }
    }

    fn length(self) -> usize {
        usize::try_from(unsafe { Rf_xlength(self.object) }).unwrap_or_default()
    }

    fn indexed(self) -> Indexed<'a> {
        Indexed {
            vector: self,
            next: 0,
            length: self.length(),
        }
    }

    /// # Safety
    ///
    /// `first` is R's pointer to the elements of this very vector.
    unsafe fn slice<T>(self, first: *const T) -> &'a [T] {
        match self.length() {
            // R's pointer to no elements points nowhere.
            0 => &[],
            length => unsafe { std::slice::from_raw_parts(first, length) },
        }
    }
}

impl Indexed<'_> {
    fn next(&mut self) -> Option<R_xlen_t> {
        let index = Some(self.next).filter(|index| *index < self.length)?;
        self.next += 1;
        R_xlen_t::try_from(index).ok()
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = Result<Option<&'a str>, Utf8Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.0.next()?;
        // The characters are kept with the vector.
        let bytes = unsafe {
            let characters = STRING_ELT(self.0.vector.object, index);
            if characters == R_NaString {
                return Some(Ok(None));
            }
            Argument::new(characters).slice(R_CHAR(characters).cast::<u8>())
        };
        Some(std::str::from_utf8(bytes).map(Some))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Argument<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.0.next()?;
        // The elements are kept with the list.
        Some(unsafe { Argument::new(VECTOR_ELT(self.0.vector.object, index)) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.0.length - self.0.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// An object that R keeps until this is dropped. The last one that was made is dropped first, as Rust does with variables.
struct Protected(SEXP);

impl Protected {
    fn new(object: SEXP) -> Self {
        Self(unsafe { Rf_protect(object) })
    }

    fn vector(of: SEXPTYPE, length: usize) -> Self {
        Self::new(unsafe { Rf_allocVector(of, R_xlen_t::try_from(length).unwrap_or(R_xlen_t::MAX)) })
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        unsafe { Rf_unprotect(1) }
    }
}

/// An object that was just made. Nothing keeps it: it has to be put away before R is asked for anything else.
#[must_use]
pub struct Made(SEXP);

impl Made {
    /// For R, which keeps what a call returns.
    pub fn into_sexp(self) -> SEXP {
        self.0
    }
}

/// `NULL`
pub fn null() -> Made {
    Made(unsafe { R_NilValue })
}

/// A character vector.
pub fn texts<'a>(texts: impl ExactSizeIterator<Item = &'a str>) -> Made {
    let vector = Protected::vector(SEXPTYPE::STRSXP, texts.len());
    for (index, text) in (0..).zip(texts) {
        unsafe { SET_STRING_ELT(vector.0, index, characters(text)) };
    }
    Made(vector.0)
}

/// A character vector with `NA` for `None`.
pub fn optional_texts(texts: &[Option<String>]) -> Made {
    let vector = Protected::vector(SEXPTYPE::STRSXP, texts.len());
    for (index, text) in (0..).zip(texts) {
        unsafe { SET_STRING_ELT(vector.0, index, text.as_deref().map_or(R_NaString, characters)) };
    }
    Made(vector.0)
}

/// An integer vector with `NA` for `None`.
pub fn optional_integers(numbers: &[Option<i32>]) -> Made {
    let vector = Protected::vector(SEXPTYPE::INTSXP, numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        // It was made as long as that.
        unsafe { *INTEGER(vector.0).add(index) = number.unwrap_or(R_NaInt) };
    }
    Made(vector.0)
}

/// A character vector of one element.
pub fn text(text: &str) -> Made {
    texts([text].into_iter())
}

/// A raw vector.
pub fn bytes(bytes: &[u8]) -> Made {
    let vector = Protected::vector(SEXPTYPE::RAWSXP, bytes.len());
    // It was made as long as that.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), RAW(vector.0), bytes.len()) };
    Made(vector.0)
}

/// An integer vector of one element.
pub fn integer(number: i32) -> Made {
    let vector = Protected::vector(SEXPTYPE::INTSXP, 1);
    unsafe { *INTEGER(vector.0) = number };
    Made(vector.0)
}

/// A numeric vector of one element.
pub fn number(number: f64) -> Made {
    let vector = Protected::vector(SEXPTYPE::REALSXP, 1);
    unsafe { *REAL(vector.0) = number };
    Made(vector.0)
}

/// A logical vector of one element.
pub fn flag(flag: bool) -> Made {
    let vector = Protected::vector(SEXPTYPE::LGLSXP, 1);
    unsafe { *LOGICAL(vector.0) = i32::from(flag) };
    Made(vector.0)
}

#[allow(improper_ctypes)] // extendr-ffi declares R's own objects as a struct that may grow.
extern "C" {
    // extendr does not offer it; "Writing R Extensions", 5.13.
    fn R_RegisterCFinalizerEx(object: SEXP, finalizer: extern "C" fn(SEXP), on_exit: i32);
}

/// Tells the pointers that are made here from all others.
unsafe fn tag() -> SEXP {
    unsafe { Rf_install(c"abba".as_ptr()) }
}

extern "C" fn finalize(pointer: SEXP) {
    // R calls this once, in its own thread, with a pointer that was made by `pointer()`.
    unsafe {
        let content: *mut Box<dyn Any> = R_ExternalPtrAddr(pointer).cast();
        if !content.is_null() {
            R_ClearExternalPtr(pointer);
            drop(Box::from_raw(content));
        }
    }
}

/// An external pointer. What it points to is dropped when R no longer holds it, or ends.
pub fn pointer(content: Box<dyn Any>) -> Made {
    unsafe {
        let address: *mut c_void = Box::into_raw(Box::new(content)).cast();
        let pointer = Protected::new(R_MakeExternalPtr(address, tag(), R_NilValue));
        R_RegisterCFinalizerEx(pointer.0, finalize, 1);
        Made(pointer.0)
    }
}

/// A list without names; its elements are made one after the other.
pub fn list(elements: impl ExactSizeIterator<Item = impl FnOnce() -> Made>) -> Made {
    let list = Protected::vector(SEXPTYPE::VECSXP, elements.len());
    for (index, make) in (0..).zip(elements) {
        unsafe { SET_VECTOR_ELT(list.0, index, make().0) };
    }
    Made(list.0)
}

/// The same with a name for each element.
pub fn with_names<'a>(list: Made, names: impl ExactSizeIterator<Item = &'a str>) -> Made {
    let list = Protected::new(list.0);
    let names = Protected::new(texts(names).0);
    unsafe { Rf_setAttrib(list.0, R_NamesSymbol, names.0) };
    Made(list.0)
}

/// The characters of an element, without any NUL, which R's strings do not hold.
fn characters(text: &str) -> SEXP {
    let without_nul;
    let text = match text.contains('\0') {
        true => {
            without_nul = text.replace('\0', "\u{FFFD}");
            &without_nul
        }
        false => text,
    };
    // No text here comes near the two gigabytes that an R string may have.
    let length = i32::try_from(text.len()).unwrap_or(i32::MAX);
    unsafe { Rf_mkCharLenCE(text.as_ptr().cast(), length, cetype_t::CE_UTF8) }
}
